"""Files and folders: safe opening, names, output that is whole or absent, errors in plain words."""
