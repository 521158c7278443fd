"""Learning presence: labelled pictures → a calibrated network → scores."""
