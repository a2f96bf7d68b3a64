"""Message templates: Jinja in a sandbox, one file per format, the shipped ones as a start."""
