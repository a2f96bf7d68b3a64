"""`clarihook doctor`: what is wrong with a deployment, and whether its disk keeps its word."""

from receiver.doctor.examine import examine
from receiver.doctor.finding import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
