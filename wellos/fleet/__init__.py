"""The fleet file: tenants, wells, connections and tags as a field engineer writes them down, and their way in."""
