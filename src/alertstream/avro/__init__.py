"""Avro on the wire and in files: the header, schemas by id, the registry, decoding in part."""
