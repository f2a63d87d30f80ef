"""The paper's four tasks: labels, nested fractions, initializations, finetuning and probes, as a resumable queue."""
