"""Alembic's entry: migrates the connection that `gateway.registry.database` hands over, in its transaction."""

from alembic import context

from gateway.registry.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
