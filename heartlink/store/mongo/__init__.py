"""MongoDB: documents (``backend``), and files in GridFS (``gridfs``). Motor and BSON are known here alone."""

from heartlink.store.mongo.backend import TIMEOUT_SECONDS, MongoBackend

__all__ = ["TIMEOUT_SECONDS", "MongoBackend"]
