"""config.yaml as frozen sections: reading and checking it."""
