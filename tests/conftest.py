"""What holds for every test process."""

import signal

# A shell that starts the suite in the background has it ignored, and so would all programs of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
