"""The far side: the client of a service, wrappers around any, and doubles for tests."""
