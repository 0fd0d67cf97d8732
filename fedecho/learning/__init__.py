"""One run: clients, server methods, distillation, evaluation. Start reading at `experiment.run`."""
