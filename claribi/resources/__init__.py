"""The API's resources: one module each, with the asynchronous class and its synchronous face."""
