"""The paper's four tasks: labels, nested fractions, initialisations, finetuning and probes, as a resumable queue."""
