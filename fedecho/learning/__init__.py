"""One run: clients, server methods, distillation, evaluation.

Start reading at `walkthrough.fedecho`, then `experiment.run`.
"""
