"""The long-running ingest process: adapters -> validate -> spool -> sinks."""
