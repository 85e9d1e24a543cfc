"""Models and their weights: finding, checking, describing, downloading, loading, converting."""
