DROP TABLE api_keys;
DROP TABLE users;
DROP TABLE tenants;
DROP TABLE database_identity;
