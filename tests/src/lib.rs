//! Tests that need the whole workspace and a real API server.
