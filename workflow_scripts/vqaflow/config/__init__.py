"""config.yaml as frozen sections: how it is read, and how it is checked."""
