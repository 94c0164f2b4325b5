BEGIN TRANSACTION;
CREATE TABLE access_log (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	batch INTEGER,
	at DATETIME NOT NULL,
	organization_id INTEGER,
	actor_kind VARCHAR(20) NOT NULL,
	actor_id VARCHAR(200) NOT NULL,
	actor_name VARCHAR(200) NOT NULL,
	action VARCHAR(80) NOT NULL,
	object_type VARCHAR(40) NOT NULL,
	object_id VARCHAR(200) NOT NULL,
	object_name VARCHAR(300) NOT NULL,
	result VARCHAR(20) NOT NULL,
	source_address VARCHAR(64) NOT NULL
);
INSERT INTO "access_log" VALUES(1,1,'2026-01-01 00:00:00.000000',1,'x','x','x','x','x','x','x','x','x');
CREATE TABLE alarm_mail (
	id INTEGER NOT NULL,
	incident_id INTEGER NOT NULL,
	kind VARCHAR(10) NOT NULL,
	user_id INTEGER NOT NULL,
	sent_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(incident_id) REFERENCES incident (id) ON DELETE CASCADE,
	FOREIGN KEY(user_id) REFERENCES user (id) ON DELETE CASCADE,
	UNIQUE (incident_id, kind, user_id)
);
INSERT INTO "alarm_mail" VALUES(1,1,'x',1,'2026-01-01 00:00:00.000000');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0022');
CREATE TABLE application (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	client_id VARCHAR(255) NOT NULL,
	client_secret_sealed BLOB,
	client_secret_hint VARCHAR(8) NOT NULL,
	client_secret_fingerprint VARCHAR(16),
	origin VARCHAR(300) NOT NULL,
	kind VARCHAR(20) NOT NULL,
	checked_at DATETIME,
	updated_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	UNIQUE (connection_id)
);
INSERT INTO "application" VALUES(1,1,'x',X'78','x','x','x','x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE audit_event (
	number INTEGER NOT NULL,
	at DATETIME NOT NULL,
	organization_id INTEGER,
	actor_kind VARCHAR(20) NOT NULL,
	actor_id VARCHAR(200) NOT NULL,
	actor_name VARCHAR(200) NOT NULL,
	action VARCHAR(80) NOT NULL,
	object_type VARCHAR(40) NOT NULL,
	object_id VARCHAR(200) NOT NULL,
	object_name VARCHAR(300) NOT NULL,
	result VARCHAR(20) NOT NULL,
	source_address VARCHAR(64) NOT NULL,
	request_id VARCHAR(40) NOT NULL,
	user_agent VARCHAR(300) NOT NULL,
	details JSON NOT NULL,
	foreign_fields JSON NOT NULL,
	previous_hash VARCHAR(64) NOT NULL,
	hash VARCHAR(64) NOT NULL,
	PRIMARY KEY (number)
);
INSERT INTO "audit_event" VALUES(1,'2026-01-01 00:00:00.000000',1,'x','x','x','x','x','x','x','x','x','x','x','{}','{}','x','x');
CREATE TABLE audit_head (
	id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	hash VARCHAR(64) NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "audit_head" VALUES(1,0,'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE audit_verification (
	id INTEGER NOT NULL,
	at DATETIME NOT NULL,
	checked INTEGER NOT NULL,
	fault_number INTEGER,
	fault VARCHAR(300) NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "audit_verification" VALUES(1,'2026-01-01 00:00:00.000000',1,1,'x');
CREATE TABLE authorization_attempt (
	id INTEGER NOT NULL,
	public_id VARCHAR(40) NOT NULL,
	connection_id INTEGER NOT NULL,
	user_id INTEGER NOT NULL,
	state_hash VARCHAR(64) NOT NULL,
	browser_hash VARCHAR(64) NOT NULL,
	state_sealed BLOB,
	verifier_sealed BLOB,
	snapshot JSON NOT NULL,
	row_version INTEGER NOT NULL,
	outcome VARCHAR(20) NOT NULL,
	card JSON,
	details JSON NOT NULL,
	created_at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	claimed_at DATETIME,
	finished_at DATETIME,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(user_id) REFERENCES user (id),
	UNIQUE (public_id),
	UNIQUE (state_hash)
);
INSERT INTO "authorization_attempt" VALUES(1,'x',1,1,'x','x',X'78',X'78','{}',1,'x','{}','{}','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE bulk_change (
	id INTEGER NOT NULL,
	job_id INTEGER NOT NULL,
	organization_id INTEGER NOT NULL,
	connection_id INTEGER,
	user_id INTEGER NOT NULL,
	enabled BOOLEAN NOT NULL,
	filters JSON NOT NULL,
	undo_of_id INTEGER,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE,
	FOREIGN KEY(organization_id) REFERENCES organization (id),
	FOREIGN KEY(undo_of_id) REFERENCES bulk_change (id) ON DELETE SET NULL,
	FOREIGN KEY(user_id) REFERENCES user (id),
	UNIQUE (job_id)
);
INSERT INTO "bulk_change" VALUES(1,1,1,1,1,0,'{}',1,'2026-01-01 00:00:00.000000');
CREATE TABLE bulk_item (
	id INTEGER NOT NULL,
	bulk_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	result VARCHAR(20) NOT NULL,
	changed_at DATETIME,
	"before" JSON,
	PRIMARY KEY (id),
	FOREIGN KEY(bulk_id) REFERENCES bulk_change (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, bulk_id)
);
INSERT INTO "bulk_item" VALUES(1,1,1,'x','2026-01-01 00:00:00.000000','{}');
CREATE TABLE catalogue_run (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	job_public_id VARCHAR(64) NOT NULL,
	complete BOOLEAN NOT NULL,
	projects_seen INTEGER NOT NULL,
	groups_seen INTEGER NOT NULL,
	projects_counted INTEGER,
	projects_known INTEGER NOT NULL,
	projects_lost INTEGER NOT NULL,
	defects JSON NOT NULL,
	started_at DATETIME NOT NULL,
	finished_at DATETIME, search_indexed BOOLEAN DEFAULT 0 NOT NULL, kind VARCHAR(10) DEFAULT 'complete' NOT NULL, updated_until DATETIME, checkpoint BLOB, doubt VARCHAR(10) DEFAULT '' NOT NULL, projects_unseen INTEGER DEFAULT '0' NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE
);
INSERT INTO "catalogue_run" VALUES(1,1,'x',0,1,1,1,1,1,'{}','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000',0,'x','2026-01-01 00:00:00.000000',X'78','x',1);
CREATE TABLE connection (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	organization_id INTEGER NOT NULL,
	slug VARCHAR(64) NOT NULL,
	display_name VARCHAR(100) NOT NULL,
	name_key VARCHAR(400) NOT NULL,
	method VARCHAR(20) NOT NULL,
	state VARCHAR(40) NOT NULL,
	attention JSON,
	external_url VARCHAR(500) NOT NULL,
	api_url VARCHAR(500) NOT NULL,
	ca_certificate VARCHAR NOT NULL,
	proxy VARCHAR(500) NOT NULL,
	service_username VARCHAR(255) NOT NULL,
	services JSON NOT NULL,
	hooks_wanted BOOLEAN NOT NULL,
	version_seen VARCHAR(64) NOT NULL,
	edition_seen VARCHAR(8) NOT NULL,
	checks JSON,
	steps_done JSON NOT NULL,
	row_version INTEGER NOT NULL,
	created_by_user_id INTEGER,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	authorized_at DATETIME,
	authorized_via JSON,
	last_read_at DATETIME, server_id INTEGER REFERENCES gitlab_server (id),
	FOREIGN KEY(created_by_user_id) REFERENCES user (id),
	FOREIGN KEY(organization_id) REFERENCES organization (id),
	UNIQUE (organization_id, name_key),
	UNIQUE (slug)
);
INSERT INTO "connection" VALUES(1,1,'x','x','x','x','x','{}','x','x','x','x','x','{}',0,'x','x','{}','{}',1,1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','{}','2026-01-01 00:00:00.000000',1);
CREATE TABLE credential (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	method VARCHAR(20) NOT NULL,
	access_token_sealed BLOB,
	refresh_token_sealed BLOB,
	origin VARCHAR(300) NOT NULL,
	scopes JSON NOT NULL,
	expires_at DATETIME,
	gitlab_user_id INTEGER NOT NULL,
	gitlab_username VARCHAR(255) NOT NULL,
	gitlab_name VARCHAR(255) NOT NULL,
	generation INTEGER NOT NULL,
	obtained_at DATETIME NOT NULL,
	authorized_by_user_id INTEGER,
	state VARCHAR(20) NOT NULL,
	refresh_at DATETIME,
	refreshed_at DATETIME,
	lease_owner VARCHAR(100) NOT NULL,
	lease_until DATETIME,
	lease_holder JSON,
	intent_id VARCHAR(40) NOT NULL,
	intent_at DATETIME,
	may_be_spent BOOLEAN NOT NULL,
	is_access_refused BOOLEAN NOT NULL,
	is_stateless BOOLEAN NOT NULL,
	refusals INTEGER NOT NULL,
	refused_at DATETIME,
	client_refusals INTEGER NOT NULL,
	client_refused_at DATETIME,
	failures INTEGER NOT NULL,
	cooldown_until DATETIME,
	failure JSON,
	failed_at DATETIME,
	refused_application VARCHAR(40) NOT NULL,
	client_id VARCHAR(255) NOT NULL,
	client_secret_sealed BLOB, token_details JSON, is_rotated BOOLEAN DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(authorized_by_user_id) REFERENCES user (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	UNIQUE (connection_id)
);
INSERT INTO "credential" VALUES(1,1,'x',X'78',X'78','x','{}','2026-01-01 00:00:00.000000',1,'x','x',1,'2026-01-01 00:00:00.000000',1,'x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','x','2026-01-01 00:00:00.000000','{}','x','2026-01-01 00:00:00.000000',0,0,0,1,'2026-01-01 00:00:00.000000',1,'2026-01-01 00:00:00.000000',1,'2026-01-01 00:00:00.000000','{}','2026-01-01 00:00:00.000000','x','x',X'78','{}',0);
CREATE TABLE credential_event (
	id INTEGER NOT NULL,
	credential_id INTEGER NOT NULL,
	at DATETIME NOT NULL,
	kind VARCHAR(40) NOT NULL,
	generation INTEGER NOT NULL,
	process VARCHAR(100) NOT NULL,
	reason VARCHAR(200) NOT NULL,
	details JSON NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(credential_id) REFERENCES credential (id) ON DELETE CASCADE
);
INSERT INTO "credential_event" VALUES(1,1,'2026-01-01 00:00:00.000000','x',1,'x','x','{}');
CREATE TABLE delivery (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	hook_id INTEGER,
	"key" VARCHAR(100) NOT NULL,
	event VARCHAR(100) NOT NULL,
	received_at DATETIME NOT NULL,
	verified_by VARCHAR(10) NOT NULL,
	body BLOB,
	size INTEGER NOT NULL,
	gitlab_version VARCHAR(20) NOT NULL,
	gitlab_project_id BIGINT,
	verdict VARCHAR(10) NOT NULL,
	effect VARCHAR(40) NOT NULL,
	applied_at DATETIME, level VARCHAR(10) DEFAULT '' NOT NULL, subject_id BIGINT DEFAULT '0' NOT NULL, copies INTEGER DEFAULT '0' NOT NULL, copied_at DATETIME, happening JSON, occurrence VARCHAR(64),
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(hook_id) REFERENCES hook (id) ON DELETE SET NULL,
	UNIQUE (hook_id, "key")
);
INSERT INTO "delivery" VALUES(1,1,1,'x','x','2026-01-01 00:00:00.000000','x',X'78',1,'x',1,'x','x','2026-01-01 00:00:00.000000','x',1,1,'2026-01-01 00:00:00.000000','{}','x');
CREATE TABLE delivery_count (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	hook_id INTEGER NOT NULL,
	hour DATETIME NOT NULL,
	outcome VARCHAR(20) NOT NULL,
	number INTEGER NOT NULL,
	first_at DATETIME NOT NULL,
	last_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(hook_id) REFERENCES hook (id) ON DELETE CASCADE,
	UNIQUE (hook_id, hour, outcome)
);
INSERT INTO "delivery_count" VALUES(1,1,1,'2026-01-01 00:00:00.000000','x',1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE deployment (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	gitlab_id BIGINT NOT NULL,
	environment VARCHAR(255) NOT NULL,
	updated BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, gitlab_id)
);
INSERT INTO "deployment" VALUES(1,1,1,1,'x',1);
CREATE TABLE disconnection (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	choice VARCHAR(10) NOT NULL,
	requested_by_user_id INTEGER,
	requested_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(requested_by_user_id) REFERENCES user (id),
	UNIQUE (connection_id)
);
INSERT INTO "disconnection" VALUES(1,1,'x',1,'2026-01-01 00:00:00.000000');
CREATE TABLE enablement (
	id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	state VARCHAR(20) NOT NULL,
	enabled_by_user_id INTEGER,
	enabled_at DATETIME NOT NULL, rule_id INTEGER, ends_at DATETIME, services JSON, reviewed_at DATETIME, reviewed_by_user_id INTEGER,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(enabled_by_user_id) REFERENCES user (id),
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id)
);
INSERT INTO "enablement" VALUES(1,1,1,'x',1,'2026-01-01 00:00:00.000000',1,'2026-01-01 00:00:00.000000','{}','2026-01-01 00:00:00.000000',1);
CREATE TABLE executor (
	executor_id VARCHAR(64) NOT NULL,
	host VARCHAR(255) NOT NULL,
	pid INTEGER NOT NULL,
	started_at DATETIME NOT NULL,
	heartbeat_at DATETIME NOT NULL,
	PRIMARY KEY (executor_id)
);
INSERT INTO "executor" VALUES('x','x',1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE figure_block (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	block BIGINT NOT NULL,
	lanes BLOB NOT NULL,
	cycles BLOB NOT NULL,
	deliveries BLOB NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, block)
);
INSERT INTO "figure_block" VALUES(1,1,1,1,X'78',X'78',X'78');
CREATE TABLE git_commit (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	sha BLOB NOT NULL,
	parents BLOB NOT NULL,
	authored BIGINT NOT NULL,
	committed BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, sha)
);
INSERT INTO "git_commit" VALUES(1,1,1,X'78',X'78',1,1);
CREATE TABLE gitlab_group (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	gitlab_group_id BIGINT NOT NULL,
	parent_gitlab_group_id BIGINT,
	name VARCHAR(500) NOT NULL,
	full_path VARCHAR(1000) NOT NULL,
	kind VARCHAR(10) NOT NULL,
	seen_in_run_id INTEGER,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	UNIQUE (connection_id, gitlab_group_id)
);
INSERT INTO "gitlab_group" VALUES(1,1,1,1,'x','x','x',1);
CREATE TABLE gitlab_person (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	gitlab_user_id BIGINT NOT NULL,
	username VARCHAR(255) NOT NULL,
	name VARCHAR(255) NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	UNIQUE (connection_id, gitlab_user_id)
);
INSERT INTO "gitlab_person" VALUES(1,1,1,'x','x');
CREATE TABLE gitlab_server (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	organization_id INTEGER NOT NULL,
	external_url VARCHAR(500) NOT NULL,
	api_url VARCHAR(500) NOT NULL,
	ca_certificate VARCHAR NOT NULL,
	proxy VARCHAR(500) NOT NULL,
	proxy_exceptions VARCHAR(2000) NOT NULL,
	client_certificate VARCHAR NOT NULL,
	client_key_sealed BLOB,
	header_name VARCHAR(100) NOT NULL,
	header_value_sealed BLOB,
	origin VARCHAR(300) NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	FOREIGN KEY(organization_id) REFERENCES organization (id)
);
INSERT INTO "gitlab_server" VALUES(1,1,'x','x','x','x','x','x',X'78','x',X'78','x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE group_grant (
	id INTEGER NOT NULL,
	membership_id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	gitlab_group_id BIGINT NOT NULL,
	granted_by_user_id INTEGER,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(granted_by_user_id) REFERENCES user (id),
	FOREIGN KEY(membership_id) REFERENCES membership (id) ON DELETE CASCADE,
	UNIQUE (membership_id, connection_id, gitlab_group_id)
);
INSERT INTO "group_grant" VALUES(1,1,1,1,1,'2026-01-01 00:00:00.000000');
CREATE TABLE hand_over (
	id INTEGER NOT NULL,
	public_id VARCHAR(40) NOT NULL,
	connection_id INTEGER NOT NULL,
	step VARCHAR(20) NOT NULL,
	token_hash VARCHAR(64) NOT NULL,
	browser_hash VARCHAR(64) NOT NULL,
	recipient VARCHAR(100) NOT NULL,
	requested_by_user_id INTEGER NOT NULL,
	external_url VARCHAR(500) NOT NULL,
	api_url VARCHAR(500) NOT NULL,
	created_at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	opened_at DATETIME,
	opened_from VARCHAR(64) NOT NULL,
	sent_at DATETIME,
	tries INTEGER NOT NULL,
	card JSON,
	outcome VARCHAR(20) NOT NULL,
	ended_at DATETIME,
	reason VARCHAR(500) NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(requested_by_user_id) REFERENCES user (id),
	UNIQUE (public_id),
	UNIQUE (token_hash)
);
INSERT INTO "hand_over" VALUES(1,'x',1,'x','x','x','x',1,'x','x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','x','2026-01-01 00:00:00.000000',1,'{}','x','2026-01-01 00:00:00.000000','x');
CREATE TABLE health_check (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	"key" VARCHAR(30) NOT NULL,
	at DATETIME NOT NULL,
	seen_at DATETIME NOT NULL,
	state VARCHAR(10) NOT NULL,
	note VARCHAR(30) NOT NULL,
	params JSON NOT NULL,
	card JSON,
	is_current BOOLEAN NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE
);
INSERT INTO "health_check" VALUES(1,1,'x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','x','x','{}','{}',0);
CREATE TABLE health_watch (
	connection_id INTEGER NOT NULL,
	state VARCHAR(10) NOT NULL,
	since DATETIME NOT NULL,
	checked_at DATETIME NOT NULL,
	answered_at DATETIME,
	due_at DATETIME NOT NULL,
	addresses JSON NOT NULL,
	PRIMARY KEY (connection_id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE
);
INSERT INTO "health_watch" VALUES(1,'x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','{}');
CREATE TABLE held_back (
	repository_id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	user_id INTEGER,
	at DATETIME NOT NULL,
	PRIMARY KEY (repository_id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	FOREIGN KEY(user_id) REFERENCES user (id)
);
INSERT INTO "held_back" VALUES(1,1,1,'2026-01-01 00:00:00.000000');
CREATE TABLE hook (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	public_id VARCHAR(40) NOT NULL,
	level VARCHAR(10) NOT NULL,
	subject_id BIGINT NOT NULL,
	repository_id INTEGER,
	mode VARCHAR(10) NOT NULL,
	status VARCHAR(20) NOT NULL,
	card JSON,
	gitlab_hook_id BIGINT,
	url VARCHAR(1500) NOT NULL,
	events JSON NOT NULL,
	origin VARCHAR(300) NOT NULL,
	token_sealed BLOB,
	signing_token_sealed BLOB,
	previous_token_sealed BLOB,
	previous_signing_token_sealed BLOB,
	previous_until DATETIME,
	uses_signature BOOLEAN NOT NULL,
	signed_from DATETIME,
	intent VARCHAR(20) NOT NULL,
	intent_at DATETIME,
	checked_at DATETIME,
	proved_at DATETIME,
	latency_ms INTEGER,
	last_delivery_at DATETIME,
	verified_by VARCHAR(10) NOT NULL,
	events_seen JSON NOT NULL,
	refused_at DATETIME,
	repaired_at DATETIME,
	repairs JSON NOT NULL,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (connection_id, level, subject_id),
	UNIQUE (public_id)
);
INSERT INTO "hook" VALUES(1,1,'x','x',1,1,'x','x','{}',1,'x','{}','x',X'78',X'78',X'78',X'78','2026-01-01 00:00:00.000000',0,'2026-01-01 00:00:00.000000','x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000',1,'2026-01-01 00:00:00.000000','x','{}','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','{}','2026-01-01 00:00:00.000000');
CREATE TABLE hook_plan (
	connection_id INTEGER NOT NULL,
	level VARCHAR(10) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	compared_at DATETIME,
	card JSON,
	PRIMARY KEY (connection_id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE
);
INSERT INTO "hook_plan" VALUES(1,'x','x','2026-01-01 00:00:00.000000','{}');
CREATE TABLE incident (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	cause VARCHAR(60) NOT NULL,
	check_key VARCHAR(30) NOT NULL,
	is_passing BOOLEAN NOT NULL,
	level VARCHAR(10) NOT NULL,
	layer VARCHAR(30) NOT NULL,
	card JSON NOT NULL,
	phase VARCHAR(10) NOT NULL,
	count INTEGER NOT NULL,
	row_count INTEGER NOT NULL,
	row_began_at DATETIME NOT NULL,
	last_failed_at DATETIME NOT NULL,
	opened_at DATETIME,
	closed_at DATETIME,
	alarmed_at DATETIME,
	alarm_mailed_at DATETIME,
	end_mailed_at DATETIME, warned_days INTEGER,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE
);
INSERT INTO "incident" VALUES(1,1,'x','x',0,'x','x','{}','x',1,1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000',1);
CREATE TABLE ingestion (
	connection_id INTEGER NOT NULL,
	months INTEGER NOT NULL,
	has_initials BOOLEAN NOT NULL,
	merge_requests_until BIGINT,
	issues_until BIGINT,
	read_at DATETIME,
	compared_at DATETIME,
	row_version INTEGER NOT NULL,
	PRIMARY KEY (connection_id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE
);
INSERT INTO "ingestion" VALUES(1,1,0,1,1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000',1);
CREATE TABLE instance (
	id INTEGER NOT NULL,
	epoch VARCHAR(32) NOT NULL,
	former_epochs JSON NOT NULL,
	signs JSON NOT NULL,
	addresses JSON NOT NULL,
	written_by VARCHAR(20) NOT NULL,
	has_witness BOOLEAN NOT NULL,
	made_at DATETIME NOT NULL,
	restored_at DATETIME,
	seen JSON NOT NULL,
	backup_made_at DATETIME,
	confirmed_at DATETIME,
	PRIMARY KEY (id)
);
INSERT INTO "instance" VALUES(1,'x','{}','{}','{}','x',0,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','{}','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE invitation (
	id INTEGER NOT NULL,
	organization_id INTEGER NOT NULL,
	token_hash VARCHAR(64) NOT NULL,
	email VARCHAR(254) NOT NULL,
	role VARCHAR(20) NOT NULL,
	invited_by_user_id INTEGER,
	created_at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	accepted_at DATETIME,
	PRIMARY KEY (id),
	FOREIGN KEY(invited_by_user_id) REFERENCES user (id),
	FOREIGN KEY(organization_id) REFERENCES organization (id) ON DELETE CASCADE,
	UNIQUE (token_hash)
);
INSERT INTO "invitation" VALUES(1,1,'x','x','x',1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE invited_group (
	id INTEGER NOT NULL,
	invitation_id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	gitlab_group_id BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(invitation_id) REFERENCES invitation (id) ON DELETE CASCADE,
	UNIQUE (invitation_id, connection_id, gitlab_group_id)
);
INSERT INTO "invited_group" VALUES(1,1,1,1);
CREATE TABLE issue (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	iid BIGINT NOT NULL,
	state VARCHAR(10) NOT NULL,
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL,
	closed BIGINT,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, iid)
);
INSERT INTO "issue" VALUES(1,1,1,1,'x',1,1,1);
CREATE TABLE job (
	id INTEGER NOT NULL,
	public_id VARCHAR(32) NOT NULL,
	organization_id INTEGER,
	actor_kind VARCHAR(20) NOT NULL,
	actor_id VARCHAR(200) NOT NULL,
	actor_name VARCHAR(200) NOT NULL,
	name VARCHAR(100) NOT NULL,
	title VARCHAR(300) NOT NULL,
	subject VARCHAR(100) NOT NULL,
	args JSON NOT NULL,
	lane VARCHAR(100) NOT NULL,
	"key" VARCHAR(200),
	state VARCHAR(20) NOT NULL,
	done INTEGER NOT NULL,
	total INTEGER,
	message VARCHAR(300) NOT NULL,
	failure JSON,
	attempts INTEGER NOT NULL,
	fence INTEGER NOT NULL,
	dispatch INTEGER NOT NULL,
	handed_over_at DATETIME,
	not_before DATETIME,
	stop_requested_at DATETIME,
	executor_id VARCHAR(64) NOT NULL,
	request_id VARCHAR(32) NOT NULL,
	created_at DATETIME NOT NULL,
	started_at DATETIME,
	finished_at DATETIME,
	PRIMARY KEY (id),
	UNIQUE (public_id)
);
INSERT INTO "job" VALUES(1,'x',1,'x','x','x','x','x','x','{}','x','x','x',1,1,'x','{}',1,1,1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','x','x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE job_item (
	id INTEGER NOT NULL,
	job_id INTEGER NOT NULL,
	ref VARCHAR(200) NOT NULL,
	label VARCHAR(1000) NOT NULL,
	state VARCHAR(20) NOT NULL,
	message VARCHAR(500) NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE,
	UNIQUE (job_id, ref)
);
INSERT INTO "job_item" VALUES(1,1,'x','x','x','x');
CREATE TABLE job_schedule (
	name VARCHAR(100) NOT NULL,
	enqueued_at DATETIME NOT NULL,
	PRIMARY KEY (name)
);
INSERT INTO "job_schedule" VALUES('x','2026-01-01 00:00:00.000000');
CREATE TABLE membership (
	id INTEGER NOT NULL,
	organization_id INTEGER NOT NULL,
	user_id INTEGER NOT NULL,
	role VARCHAR(20) NOT NULL,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(organization_id) REFERENCES organization (id) ON DELETE CASCADE,
	FOREIGN KEY(user_id) REFERENCES user (id) ON DELETE CASCADE,
	UNIQUE (organization_id, user_id)
);
INSERT INTO "membership" VALUES(1,1,1,'x','2026-01-01 00:00:00.000000');
CREATE TABLE merge_request (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	iid BIGINT NOT NULL,
	state VARCHAR(10) NOT NULL,
	is_draft BOOLEAN NOT NULL,
	author_id BIGINT,
	reviewer_ids JSON NOT NULL,
	created BIGINT NOT NULL,
	updated BIGINT NOT NULL,
	merged BIGINT,
	closed BIGINT,
	merge_sha BLOB,
	first_commit BIGINT,
	is_traced BOOLEAN NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, iid)
);
INSERT INTO "merge_request" VALUES(1,1,1,1,'x',0,1,'{}',1,1,1,1,X'78',1,0);
CREATE TABLE namespace (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	path VARCHAR(1000) NOT NULL,
	total INTEGER NOT NULL,
	enabled INTEGER NOT NULL,
	blocked INTEGER NOT NULL,
	enabled_blocked INTEGER NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	UNIQUE (connection_id, path)
);
INSERT INTO "namespace" VALUES(1,1,'x',1,1,1,1);
CREATE TABLE open_work (
	repository_id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	opened BLOB NOT NULL,
	waiting BLOB NOT NULL,
	asked BLOB NOT NULL,
	drafts INTEGER NOT NULL,
	issues INTEGER NOT NULL,
	PRIMARY KEY (repository_id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE
);
INSERT INTO "open_work" VALUES(1,1,X'78',X'78',X'78',1,1);
CREATE TABLE organization (
	id INTEGER NOT NULL,
	name VARCHAR(100) NOT NULL,
	"plan" VARCHAR(40) NOT NULL,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "organization" VALUES(1,'x','x','2026-01-01 00:00:00.000000');
CREATE TABLE outbound_try (
	id INTEGER NOT NULL,
	organization_id INTEGER NOT NULL,
	kind VARCHAR(20) NOT NULL,
	at DATETIME NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "outbound_try" VALUES(1,1,'x','2026-01-01 00:00:00.000000');
CREATE TABLE provisioning_run (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	connection_id INTEGER NOT NULL,
	kind VARCHAR(20) NOT NULL,
	state VARCHAR(20) NOT NULL,
	wanted JSON NOT NULL,
	results JSON NOT NULL,
	started_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	finished_at DATETIME,
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	UNIQUE (connection_id)
);
INSERT INTO "provisioning_run" VALUES(1,1,'x','x','{}','{}','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE rate_limit (
	origin VARCHAR(300) NOT NULL,
	per_minute INTEGER NOT NULL,
	remaining INTEGER NOT NULL,
	seen_at DATETIME NOT NULL,
	PRIMARY KEY (origin)
);
INSERT INTO "rate_limit" VALUES('x',1,1,'2026-01-01 00:00:00.000000');
CREATE TABLE reading (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	kind VARCHAR(20) NOT NULL,
	"begin" BIGINT NOT NULL,
	cursor BIGINT NOT NULL,
	is_complete BOOLEAN NOT NULL,
	read_at DATETIME,
	due_at DATETIME,
	card JSON,
	failures INTEGER NOT NULL,
	is_stale BOOLEAN NOT NULL,
	unreadable INTEGER NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, kind)
);
INSERT INTO "reading" VALUES(1,1,1,'x',1,1,0,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','{}',1,0,1);
CREATE TABLE repository (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	gitlab_project_id BIGINT NOT NULL,
	name VARCHAR(500) NOT NULL,
	path_with_namespace VARCHAR(1000) NOT NULL,
	namespace_path VARCHAR(1000) NOT NULL,
	gitlab_namespace_id BIGINT,
	web_url VARCHAR(1500) NOT NULL,
	description VARCHAR(500) NOT NULL,
	default_branch VARCHAR(500) NOT NULL,
	visibility VARCHAR(20) NOT NULL,
	access_level INTEGER,
	archived BOOLEAN NOT NULL,
	is_empty BOOLEAN NOT NULL,
	object_format VARCHAR(10) NOT NULL,
	repository_enabled BOOLEAN NOT NULL,
	marked_for_deletion BOOLEAN NOT NULL,
	unavailable_reason VARCHAR(40) NOT NULL,
	last_activity_at DATETIME,
	missing_since DATETIME,
	search_text VARCHAR(1600) NOT NULL,
	digest BLOB NOT NULL, role_source VARCHAR(10) DEFAULT '' NOT NULL, unseen_since DATETIME,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	UNIQUE (connection_id, gitlab_project_id)
);
INSERT INTO "repository" VALUES(1,1,1,'x','x','x',1,'x','x','x','x',1,0,0,'x',0,0,'x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','x',X'78','x','2026-01-01 00:00:00.000000');
CREATE TABLE repository_request (
	id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	user_id INTEGER NOT NULL,
	reason VARCHAR(1000) NOT NULL,
	created_at DATETIME NOT NULL,
	state VARCHAR(10) NOT NULL,
	decided_by_user_id INTEGER,
	decided_at DATETIME,
	answer VARCHAR(1000) NOT NULL,
	ends_at DATETIME,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(decided_by_user_id) REFERENCES user (id),
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	FOREIGN KEY(user_id) REFERENCES user (id)
);
INSERT INTO "repository_request" VALUES(1,1,1,1,'x','2026-01-01 00:00:00.000000','x',1,'2026-01-01 00:00:00.000000','x','2026-01-01 00:00:00.000000');
CREATE TABLE request_agreement (
	id INTEGER NOT NULL,
	organization_id INTEGER NOT NULL,
	origin VARCHAR(300) NOT NULL,
	per_second INTEGER NOT NULL,
	at_once INTEGER NOT NULL,
	quiet_from INTEGER NOT NULL,
	quiet_until INTEGER NOT NULL,
	time_zone VARCHAR(64) NOT NULL,
	quiet_per_second INTEGER NOT NULL,
	agreed_with VARCHAR(200) NOT NULL,
	note VARCHAR(1000) NOT NULL,
	agreed_at DATETIME,
	row_version INTEGER NOT NULL,
	updated_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (origin, organization_id)
);
INSERT INTO "request_agreement" VALUES(1,1,'x',1,1,1,1,'x',1,'x','x','2026-01-01 00:00:00.000000',1,'2026-01-01 00:00:00.000000');
CREATE TABLE request_budget (
	origin VARCHAR(300) NOT NULL,
	next_at FLOAT NOT NULL,
	cooled_until FLOAT NOT NULL,
	holders JSON NOT NULL,
	written_at FLOAT NOT NULL, quiet_next_at FLOAT DEFAULT '0' NOT NULL,
	PRIMARY KEY (origin)
);
INSERT INTO "request_budget" VALUES('x',1.5,1.5,'{}',1.5,1.5);
CREATE TABLE request_count (
	id INTEGER NOT NULL,
	origin VARCHAR(300) NOT NULL,
	starts_at DATETIME NOT NULL,
	purpose VARCHAR(20) NOT NULL,
	requests INTEGER NOT NULL,
	refused INTEGER NOT NULL,
	waited_ms INTEGER NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (origin, starts_at, purpose)
);
INSERT INTO "request_count" VALUES(1,'x','2026-01-01 00:00:00.000000','x',1,1,1);
CREATE TABLE request_news (
	membership_id INTEGER NOT NULL,
	told_until DATETIME NOT NULL,
	mailed_at DATETIME,
	PRIMARY KEY (membership_id),
	FOREIGN KEY(membership_id) REFERENCES membership (id) ON DELETE CASCADE
);
INSERT INTO "request_news" VALUES(1,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE request_slowdown (
	id INTEGER NOT NULL,
	origin VARCHAR(300) NOT NULL,
	reason VARCHAR(20) NOT NULL,
	began_at DATETIME NOT NULL,
	ended_at DATETIME NOT NULL,
	requests INTEGER NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "request_slowdown" VALUES(1,'x','x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000',1);
CREATE TABLE retired_token (
	id INTEGER NOT NULL,
	organization_id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	connection_name VARCHAR(100) NOT NULL,
	token_sealed BLOB,
	access_token_sealed BLOB,
	refresh_sent_at DATETIME,
	method VARCHAR(20) NOT NULL,
	snapshot JSON NOT NULL,
	client_secret_sealed BLOB,
	origin VARCHAR(300) NOT NULL,
	reason VARCHAR(40) NOT NULL,
	created_at DATETIME NOT NULL,
	tries INTEGER NOT NULL,
	next_try_at DATETIME NOT NULL,
	failure JSON,
	revoked_at DATETIME,
	proof VARCHAR(40) NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "retired_token" VALUES(1,1,1,'x',X'78',X'78','2026-01-01 00:00:00.000000','x','{}',X'78','x','x','2026-01-01 00:00:00.000000',1,'2026-01-01 00:00:00.000000','{}','2026-01-01 00:00:00.000000','x');
CREATE TABLE review (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	iid BIGINT NOT NULL,
	gitlab_user_id BIGINT NOT NULL,
	first BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, iid, gitlab_user_id)
);
INSERT INTO "review" VALUES(1,1,1,1,1,1);
CREATE TABLE review_schedule (
	organization_id INTEGER NOT NULL,
	every_months INTEGER NOT NULL,
	PRIMARY KEY (organization_id),
	FOREIGN KEY(organization_id) REFERENCES organization (id) ON DELETE CASCADE
);
INSERT INTO "review_schedule" VALUES(1,1);
CREATE TABLE reviewer_block (
	id INTEGER NOT NULL,
	connection_id INTEGER NOT NULL,
	repository_id INTEGER NOT NULL,
	block BIGINT NOT NULL,
	gitlab_user_id BIGINT NOT NULL,
	answers BLOB NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE,
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE CASCADE,
	UNIQUE (repository_id, block, gitlab_user_id)
);
INSERT INTO "reviewer_block" VALUES(1,1,1,1,1,X'78');
CREATE TABLE selection_rule (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	connection_id INTEGER NOT NULL,
	position INTEGER NOT NULL,
	action VARCHAR(10) NOT NULL,
	pattern VARCHAR(500) NOT NULL,
	visibility VARCHAR(20) NOT NULL,
	active_months INTEGER NOT NULL,
	archived VARCHAR(3) NOT NULL,
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE CASCADE
);
INSERT INTO "selection_rule" VALUES(1,1,1,'x','x','x',1,'x');
CREATE TABLE session (
	id INTEGER NOT NULL,
	token_hash VARCHAR(64) NOT NULL,
	user_id INTEGER NOT NULL,
	organization_id INTEGER NOT NULL,
	data JSON NOT NULL,
	created_at DATETIME NOT NULL,
	last_active_at DATETIME NOT NULL,
	proved_at DATETIME NOT NULL,
	source VARCHAR(64) NOT NULL,
	user_agent VARCHAR(200) NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(organization_id) REFERENCES organization (id) ON DELETE CASCADE,
	FOREIGN KEY(user_id) REFERENCES user (id) ON DELETE CASCADE,
	UNIQUE (token_hash)
);
INSERT INTO "session" VALUES(1,'x',1,1,'{}','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000','x','x');
CREATE TABLE setup_token (
	id INTEGER NOT NULL,
	token_hash VARCHAR(64) NOT NULL,
	created_at DATETIME NOT NULL,
	used_at DATETIME,
	PRIMARY KEY (id),
	UNIQUE (token_hash)
);
INSERT INTO "setup_token" VALUES(1,'x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE sign_in_attempt (
	id INTEGER NOT NULL,
	account_hash VARCHAR(64) NOT NULL,
	source_hash VARCHAR(64) NOT NULL,
	succeeded BOOLEAN NOT NULL,
	at DATETIME NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "sign_in_attempt" VALUES(1,'x','x',0,'2026-01-01 00:00:00.000000');
CREATE TABLE site (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	organization_id INTEGER NOT NULL,
	slug VARCHAR(60) NOT NULL,
	name VARCHAR(100) NOT NULL,
	name_key VARCHAR(400) NOT NULL,
	folder_name VARCHAR(40) NOT NULL,
	created_by_user_id INTEGER,
	created_at DATETIME NOT NULL,
	state VARCHAR(20) NOT NULL,
	card JSON,
	head VARCHAR(64) NOT NULL,
	head_at DATETIME,
	files INTEGER NOT NULL,
	connection_id INTEGER,
	repository_id INTEGER,
	gitlab_project_id BIGINT,
	branch VARCHAR(255) NOT NULL,
	folder VARCHAR(1000) NOT NULL,
	connected_at DATETIME,
	gitlab_head VARCHAR(64) NOT NULL,
	synced_at DATETIME,
	due_at DATETIME,
	demands INTEGER NOT NULL,
	check_at DATETIME,
	failures INTEGER NOT NULL,
	merge_request_iid BIGINT,
	merge_request_url VARCHAR(1500) NOT NULL,
	FOREIGN KEY(connection_id) REFERENCES connection (id) ON DELETE SET NULL,
	FOREIGN KEY(created_by_user_id) REFERENCES user (id),
	FOREIGN KEY(organization_id) REFERENCES organization (id),
	FOREIGN KEY(repository_id) REFERENCES repository (id) ON DELETE SET NULL,
	UNIQUE (organization_id, name_key),
	UNIQUE (slug)
);
INSERT INTO "site" VALUES(1,1,'x','x','x','x',1,'2026-01-01 00:00:00.000000','x','{}','x','2026-01-01 00:00:00.000000',1,1,1,1,'x','x','2026-01-01 00:00:00.000000','x','2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000',1,'2026-01-01 00:00:00.000000',1,1,'x');
CREATE TABLE site_conflict (
	id INTEGER NOT NULL,
	site_id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	folder VARCHAR(1000) NOT NULL,
	path VARCHAR(4096) NOT NULL,
	here VARCHAR(64) NOT NULL,
	gitlab VARCHAR(64) NOT NULL,
	base VARCHAR(64) NOT NULL,
	found_at DATETIME NOT NULL,
	resolution VARCHAR(10) NOT NULL,
	resolved_at DATETIME,
	resolved_by_user_id INTEGER,
	PRIMARY KEY (id),
	FOREIGN KEY(resolved_by_user_id) REFERENCES user (id),
	FOREIGN KEY(site_id) REFERENCES site (id) ON DELETE CASCADE
);
INSERT INTO "site_conflict" VALUES(1,1,1,'x','x','x','x','x','2026-01-01 00:00:00.000000','x','2026-01-01 00:00:00.000000',1);
CREATE TABLE user (
	id INTEGER NOT NULL,
	email VARCHAR(254) NOT NULL,
	name VARCHAR(100) NOT NULL,
	password_hash VARCHAR(255),
	is_disabled BOOLEAN NOT NULL,
	created_at DATETIME NOT NULL,
	last_signed_in_at DATETIME,
	PRIMARY KEY (id),
	UNIQUE (email)
);
INSERT INTO "user" VALUES(1,'x','x','x',0,'2026-01-01 00:00:00.000000','2026-01-01 00:00:00.000000');
CREATE TABLE vault_key (
	key_id VARCHAR(16) NOT NULL,
	check_value VARCHAR(64) NOT NULL,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (key_id)
);
INSERT INTO "vault_key" VALUES('x','x','2026-01-01 00:00:00.000000');
CREATE INDEX ix_access_log_batch ON access_log (batch, id);
CREATE INDEX ix_audit_event_action ON audit_event (organization_id, action, number);
CREATE INDEX ix_audit_event_listing ON audit_event (organization_id, number);
CREATE INDEX ix_job_ended ON job (state, finished_at);
CREATE INDEX ix_job_ended_own ON job (finished_at) WHERE organization_id IS NULL;
CREATE INDEX ix_job_newest_of_key ON job ("key", id);
CREATE INDEX ix_job_organization_listing ON job (organization_id, id);
CREATE INDEX ix_job_subject ON job (subject);
CREATE INDEX ix_job_unfinished ON job (id) WHERE finished_at IS NULL;
CREATE UNIQUE INDEX uq_job_key_unfinished ON job ("key") WHERE key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX ix_outbound_try_organization_id ON outbound_try (organization_id);
CREATE INDEX ix_retired_token_connection_id ON retired_token (connection_id);
CREATE INDEX ix_retired_token_due ON retired_token (next_try_at) WHERE revoked_at IS NULL;
CREATE INDEX ix_retired_token_organization_id ON retired_token (organization_id);
CREATE INDEX ix_sign_in_attempt_account ON sign_in_attempt (account_hash, at);
CREATE INDEX ix_sign_in_attempt_at ON sign_in_attempt (at);
CREATE INDEX ix_sign_in_attempt_source ON sign_in_attempt (source_hash, at);
CREATE INDEX ix_connection_organization_id ON connection (organization_id);
CREATE INDEX ix_invitation_organization_id ON invitation (organization_id);
CREATE INDEX ix_membership_user_id ON membership (user_id);
CREATE INDEX ix_session_created_at ON session (created_at);
CREATE INDEX ix_session_last_active_at ON session (last_active_at);
CREATE INDEX ix_session_user_id ON session (user_id);
CREATE INDEX ix_authorization_attempt_connection_id ON authorization_attempt (connection_id);
CREATE INDEX ix_catalogue_run_connection_id ON catalogue_run (connection_id);
CREATE INDEX ix_credential_refresh_at ON credential (refresh_at);
CREATE INDEX ix_gitlab_group_connection_id ON gitlab_group (connection_id);
CREATE INDEX ix_group_grant_connection_id ON group_grant (connection_id);
CREATE INDEX ix_health_check_history ON health_check (connection_id, "key", id);
CREATE INDEX ix_health_check_seen_at ON health_check (seen_at);
CREATE UNIQUE INDEX uq_health_check_current ON health_check (connection_id, "key") WHERE is_current;
CREATE INDEX ix_health_watch_due_at ON health_watch (due_at);
CREATE INDEX ix_incident_listing ON incident (connection_id, id);
CREATE UNIQUE INDEX uq_incident_unfinished ON incident (connection_id, cause) WHERE phase <> 'closed';
CREATE INDEX ix_invited_group_connection_id ON invited_group (connection_id);
CREATE INDEX ix_repository_listing ON repository (connection_id, path_with_namespace, id);
CREATE INDEX ix_repository_namespace ON repository (connection_id, namespace_path);
CREATE INDEX ix_credential_event_credential_id ON credential_event (credential_id);
CREATE INDEX ix_enablement_connection_id ON enablement (connection_id);
CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event BEGIN SELECT RAISE(ABORT, 'The audit log is only ever added to.'); END;
CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event BEGIN SELECT RAISE(ABORT, 'The audit log is only ever added to.'); END;
CREATE TRIGGER audit_event_no_replace BEFORE INSERT ON audit_event
        WHEN EXISTS (SELECT 1 FROM audit_event WHERE number = NEW.number)
        BEGIN SELECT RAISE(ABORT, 'The audit log is only ever added to.'); END;
CREATE TRIGGER audit_head_only_grows BEFORE UPDATE ON audit_head WHEN NEW.number <= OLD.number
        BEGIN SELECT RAISE(ABORT, 'The audit log is only ever added to.'); END;
CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head BEGIN SELECT RAISE(ABORT, 'The audit log is only ever added to.'); END;
CREATE INDEX ix_gitlab_server_organization_id ON gitlab_server (organization_id);
CREATE INDEX ix_connection_server_id ON connection (server_id);
CREATE INDEX ix_hand_over_connection_id ON hand_over (connection_id);
CREATE INDEX ix_selection_rule_connection_id ON selection_rule (connection_id);
CREATE INDEX ix_held_back_connection_id ON held_back (connection_id);
CREATE INDEX ix_repository_path ON repository (path_with_namespace, id);
CREATE INDEX ix_repository_blocked ON repository (connection_id, path_with_namespace, id) WHERE unavailable_reason != '' OR missing_since IS NOT NULL;
CREATE INDEX ix_hook_connection_id ON hook (connection_id);
CREATE INDEX ix_hook_repository_id ON hook (repository_id);
CREATE INDEX ix_hook_status ON hook (status);
CREATE INDEX ix_bulk_change_connection_id ON bulk_change (connection_id);
CREATE INDEX ix_bulk_change_organization_id ON bulk_change (organization_id);
CREATE INDEX ix_bulk_change_undo_of_id ON bulk_change (undo_of_id);
CREATE INDEX ix_bulk_item_result ON bulk_item (bulk_id, result, id);
CREATE INDEX ix_enablement_since ON enablement (connection_id, enabled_at, repository_id);
CREATE INDEX ix_repository_activity ON repository (connection_id, last_activity_at, id);
CREATE INDEX ix_repository_role ON repository (connection_id, access_level, id);
CREATE INDEX ix_delivery_connection ON delivery (connection_id, id);
CREATE INDEX ix_delivery_waiting ON delivery (id) WHERE verdict = 'waiting';
CREATE INDEX ix_request_agreement_organization_id ON request_agreement (organization_id);
CREATE INDEX ix_request_count_starts_at ON request_count (starts_at);
CREATE INDEX ix_request_slowdown_ended_at ON request_slowdown (ended_at);
CREATE INDEX ix_request_slowdown_origin_ended_at ON request_slowdown (origin, ended_at);
CREATE INDEX ix_repository_request_connection_id ON repository_request (connection_id);
CREATE INDEX ix_repository_request_repository_id ON repository_request (repository_id);
CREATE INDEX ix_repository_request_user_id ON repository_request (user_id);
CREATE UNIQUE INDEX ix_repository_request_open ON repository_request (repository_id) WHERE state = 'open';
CREATE INDEX ix_delivery_turn ON delivery (hook_id, id) WHERE verdict = 'waiting';
CREATE INDEX ix_repository_missing ON repository (connection_id, path_with_namespace) WHERE missing_since IS NOT NULL;
CREATE INDEX ix_delivery_reading ON delivery (connection_id, id) WHERE verdict = 'reading';
CREATE INDEX ix_deployment_connection_id ON deployment (connection_id);
CREATE INDEX ix_figure_block_connection ON figure_block (connection_id);
CREATE INDEX ix_git_commit_connection_id ON git_commit (connection_id);
CREATE INDEX ix_issue_connection_id ON issue (connection_id);
CREATE INDEX ix_merge_request_connection_id ON merge_request (connection_id);
CREATE INDEX ix_merge_request_open ON merge_request (repository_id, state, created);
CREATE INDEX ix_reading_due ON reading (connection_id, due_at);
CREATE INDEX ix_review_connection_id ON review (connection_id);
CREATE INDEX ix_delivery_count_hour ON delivery_count (connection_id, hour);
CREATE INDEX ix_delivery_occurrence ON delivery (connection_id, occurrence) WHERE occurrence IS NOT NULL;
CREATE INDEX ix_open_work_connection_id ON open_work (connection_id);
CREATE INDEX ix_reviewer_block_connection_id ON reviewer_block (connection_id);
CREATE INDEX ix_site_check ON site (check_at);
CREATE INDEX ix_site_connection_id ON site (connection_id);
CREATE INDEX ix_site_due ON site (due_at);
CREATE INDEX ix_site_gitlab_project_id ON site (gitlab_project_id);
CREATE INDEX ix_site_repository_id ON site (repository_id);
CREATE INDEX ix_site_conflict_site_id ON site_conflict (site_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('gitlab_server',1);
INSERT INTO "sqlite_sequence" VALUES('access_log',1);
INSERT INTO "sqlite_sequence" VALUES('connection',1);
INSERT INTO "sqlite_sequence" VALUES('provisioning_run',1);
INSERT INTO "sqlite_sequence" VALUES('selection_rule',1);
INSERT INTO "sqlite_sequence" VALUES('site',1);
COMMIT;
