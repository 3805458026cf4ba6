"""The fictitious world and its small model: what is served until you point Lethe at your own."""
