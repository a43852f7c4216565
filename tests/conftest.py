import signal

# A shell starts its background jobs with Ctrl-C ignored, which children inherit; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
