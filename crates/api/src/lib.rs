//! The wire contract: requests, responses, and the typed client.
