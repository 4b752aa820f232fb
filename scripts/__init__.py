"""Running a local deployment: `make setup`, `make up`, `make demo` and their counterparts."""
