"""The one door of all transports: a run is started, followed and stopped here, and admitted first."""
