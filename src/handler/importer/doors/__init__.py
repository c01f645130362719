"""The other doors: what comes in not as a file dropped under imports/, and what goes out when an import has ended."""
