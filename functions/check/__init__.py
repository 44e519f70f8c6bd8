"""`bongsu function check`: starts a function in any language against a RabbitMQ, and finds out which rules it keeps."""
