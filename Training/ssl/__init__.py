"""Self-supervised pretraining (SimCLR): views, loss, model, loop, monitors and export."""
