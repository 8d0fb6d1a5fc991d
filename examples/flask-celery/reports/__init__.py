"""Reports on texts: `web` takes a text and hands it on, `worker` does the work."""
