"""Shield, learn, verify, enforce: what happens to a forget request after it is filed."""
