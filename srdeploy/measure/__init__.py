"""What is measured, and what came of it: scenarios, clocks, processes, measurements."""
