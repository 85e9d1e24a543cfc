"""Python, the packages, and the plugins that lingen runs with."""
