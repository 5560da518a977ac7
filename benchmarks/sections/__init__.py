"""The sections of `python -m benchmarks`, one module each, with two functions.

`measure(plan)` returns the results as JSON values, the field `found` of SECTION.json; `table(found)` formats them.
"""
