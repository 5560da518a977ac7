"""What `python -m benchmarks` measures: a module a section, each with two functions.

`measure(plan)` returns what was found, as JSON knows it; `table(found)` writes that as Markdown.
"""
