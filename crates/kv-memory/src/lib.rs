//! A key-value store in memory: the reference reading of the contract, for unit tests.
