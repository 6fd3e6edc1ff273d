-- Questions of several values: what is asked beside an actor, a resource or a result stands in the same index behind the
-- order of search, and is compared there without a look at the row (src/stores/postgres/event-sql.ts). An event costs 1.5
-- to 3.4 of 20 µs more by it (docs/performance.md); each index over a text costs about 3, and every pair would need one.
-- Largest entry: three texts of 512 bytes (ROW_TEXT_BYTES_MAX), a tenant of 128 and 60 more; a B-tree takes 2,704.
-- Made anew from the rows, 2 to 3 s per index and million; the view is not written meanwhile.
DROP INDEX evident.events_actor;
CREATE INDEX events_actor ON evident.events (tenant, actor_id, event_time, tree, position, result, action);
DROP INDEX evident.events_resource;
CREATE INDEX events_resource ON evident.events (tenant, resource_id, event_time, tree, position, result, actor_id, action);
DROP INDEX evident.events_result;
CREATE INDEX events_result ON evident.events (tenant, result, event_time, tree, position, action) WHERE result <> 'success';
