"""The real servers on this machine: PostgreSQL, Kafka and MinIO, for tests and for `aimic up --profile servers`.

How a test uses them (the fixtures are in tests/conftest.py; they install what is missing and start once per session)::

    pytestmark = pytest.mark.servers

    def test_x(servers: Servers) -> None:                       # all three
        settings = Settings(**servers.fields())                 # any subclass of aimic.settings.Settings
        environment = {**os.environ, **servers.environment()}   # the same for a process: AIMIC_BLOBS_URL, …

    def test_y(postgres_server: Postgres) -> None:
        with postgres_server.fresh_database() as database:      # empty, not migrated; dropped at the end
            settings = Settings(**fields(database.environment()))
            database.url("owner"), database.password("app")     # owner, app, system

    def test_z(kafka_server: Kafka, minio_server: Minio) -> None:
        kafka_server.url            # kafka://127.0.0.1:PORT, no credentials
        kafka_server.environment()  # AIMIC_EVENTS_URL; .sasl_environment(): the listener that asks for a password
        minio_server.environment(bucket=None)  # AIMIC_BLOBS_URL on a bucket that never was, AIMIC_S3_ACCESS_KEY_FILE, …

Every server has `start() stop() kill() restart() pause() resume()`, `pid`, `port`, `running`, `log_tail()`. Port, data
and passwords stay the same over them. The session's servers are shared: a test that stops, kills, pauses or fills one
starts its own: `Postgres(tmp_path / "postgres")`, or `Servers.on(tmp_path)` for all three, as a context manager.
A proxy (Toxiproxy) stands before PostgreSQL and MinIO by address alone; for Kafka it listens on
`kafka.proxied_port` and passes on to `kafka.behind_proxy_port`, since a broker tells its clients where to come back:
`Toxiproxy(install.toxiproxy())`, clients use `kafka.proxied_url`, `minio.environment(port=proxy.port)`,
`database.environment(port=proxy.port)`.

`Prometheus(tmp_path, {"inference": ops_port}, rules)` scrapes operations ports; `ask("query", query="up")` asks it.
"""
