"""Run the module's self-test in a real Slicer and leave with its result.

Slicer --testing --no-splash --no-main-window --additional-module-paths GeminiPropagate
       --python-script GeminiPropagate/Testing/Python/run_self_test.py
"""

import sys
import traceback

import slicer

try:
    import GeminiPropagate

    test = GeminiPropagate.GeminiPropagateTest()
    test.messageDelay = 0
    test.runTest()
except Exception:
    traceback.print_exc()
    slicer.util.exit(1)
else:
    print("GeminiPropagate: the self-test passed", file=sys.stderr)
    slicer.util.exit(0)
