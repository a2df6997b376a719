"""The fault test: clients, a proxy and a nemesis around a real server; run by name, `pytest tests/faults`."""
