import os
import subprocess
import sys

SCRIPT = """
import os, threading
from fer_edge.engines.stdout import stdout_to_stderr
inside, leave = threading.Event(), threading.Event()
def first():
    with stdout_to_stderr():
        inside.set()
        leave.wait()
thread = threading.Thread(target=first)
thread.start()
inside.wait()
with stdout_to_stderr():
    leave.set()
    thread.join()
    print("python, within")
    os.write(1, b"others, within\\n")
print("python, after", flush=True)
os.write(1, b"others, after\\n")
"""


def test_stdout_is_back_after_the_last_of_several_threads() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(os.linesep)[:2] == ["python, after", "others, after"]
    assert sorted(done.stderr.splitlines()) == ["others, within", "python, within"]
