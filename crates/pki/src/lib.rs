//! Certificates of a small private CA
