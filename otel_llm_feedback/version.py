"""The version of this package; also the version of the instrumentation scope that our records carry."""

__version__ = "0.1.0"
