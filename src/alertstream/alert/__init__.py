"""What an alert is in each survey: quantities, light curve, text, cutouts, pictures."""
