DROP TABLE attendances;
DROP TABLE sessions;
