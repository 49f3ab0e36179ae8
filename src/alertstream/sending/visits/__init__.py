"""Files to the messages of visits, each when it is due."""
