# Two commands: `make up` runs the platform, `make test` proves it.
