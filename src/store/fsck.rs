//! Verifying everything that the store can verify without knowing OCI: blobs, refs, records, leftovers.
