"""The paper's experiments from data to report by one command, and which part of a pretraining helps."""
