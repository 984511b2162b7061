"""Run folder to report.html."""
