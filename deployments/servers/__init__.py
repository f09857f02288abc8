"""The process of an http-server: started, found ready, started again when it dies, and gone when its replica is."""
