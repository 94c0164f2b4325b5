CREATE FUNCTION public.audit_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'The audit log is only ever added to.' USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TABLE public.access_log (
    id bigint NOT NULL,
    batch bigint,
    at timestamp with time zone NOT NULL,
    organization_id bigint,
    actor_kind character varying(20) NOT NULL,
    actor_id character varying(200) NOT NULL,
    actor_name character varying(200) NOT NULL,
    action character varying(80) NOT NULL,
    object_type character varying(40) NOT NULL,
    object_id character varying(200) NOT NULL,
    object_name character varying(300) NOT NULL,
    result character varying(20) NOT NULL,
    source_address character varying(64) NOT NULL
);
CREATE SEQUENCE public.access_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.access_log_id_seq OWNED BY public.access_log.id;
CREATE TABLE public.alarm_mail (
    id bigint NOT NULL,
    incident_id bigint NOT NULL,
    kind character varying(10) NOT NULL,
    user_id bigint NOT NULL,
    sent_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.alarm_mail_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.alarm_mail_id_seq OWNED BY public.alarm_mail.id;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.application (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    client_id character varying(255) NOT NULL,
    client_secret_sealed bytea,
    client_secret_hint character varying(8) NOT NULL,
    client_secret_fingerprint character varying(16),
    origin character varying(300) NOT NULL,
    kind character varying(20) NOT NULL,
    checked_at timestamp with time zone,
    updated_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.application_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.application_id_seq OWNED BY public.application.id;
CREATE TABLE public.audit_event (
    number bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    organization_id bigint,
    actor_kind character varying(20) NOT NULL,
    actor_id character varying(200) NOT NULL,
    actor_name character varying(200) NOT NULL,
    action character varying(80) NOT NULL,
    object_type character varying(40) NOT NULL,
    object_id character varying(200) NOT NULL,
    object_name character varying(300) NOT NULL,
    result character varying(20) NOT NULL,
    source_address character varying(64) NOT NULL,
    request_id character varying(40) NOT NULL,
    user_agent character varying(300) NOT NULL,
    details json NOT NULL,
    foreign_fields json NOT NULL,
    previous_hash character varying(64) NOT NULL,
    hash character varying(64) NOT NULL
);
CREATE TABLE public.audit_head (
    id bigint NOT NULL,
    number bigint NOT NULL,
    hash character varying(64) NOT NULL
);
CREATE TABLE public.audit_verification (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    checked bigint NOT NULL,
    fault_number bigint,
    fault character varying(300) NOT NULL
);
CREATE SEQUENCE public.audit_verification_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_verification_id_seq OWNED BY public.audit_verification.id;
CREATE TABLE public.authorization_attempt (
    id bigint NOT NULL,
    public_id character varying(40) NOT NULL,
    connection_id bigint NOT NULL,
    user_id bigint NOT NULL,
    state_hash character varying(64) NOT NULL,
    browser_hash character varying(64) NOT NULL,
    state_sealed bytea,
    verifier_sealed bytea,
    snapshot json NOT NULL,
    row_version integer NOT NULL,
    outcome character varying(20) NOT NULL,
    card json,
    details json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    claimed_at timestamp with time zone,
    finished_at timestamp with time zone
);
CREATE SEQUENCE public.authorization_attempt_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.authorization_attempt_id_seq OWNED BY public.authorization_attempt.id;
CREATE TABLE public.bulk_change (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    organization_id bigint NOT NULL,
    connection_id bigint,
    user_id bigint NOT NULL,
    enabled boolean NOT NULL,
    filters json NOT NULL,
    undo_of_id bigint,
    created_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.bulk_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.bulk_change_id_seq OWNED BY public.bulk_change.id;
CREATE TABLE public.bulk_item (
    id bigint NOT NULL,
    bulk_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    result character varying(20) NOT NULL,
    changed_at timestamp with time zone,
    before json
);
CREATE SEQUENCE public.bulk_item_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.bulk_item_id_seq OWNED BY public.bulk_item.id;
CREATE TABLE public.catalogue_run (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    job_public_id character varying(64) NOT NULL,
    complete boolean NOT NULL,
    projects_seen integer NOT NULL,
    groups_seen integer NOT NULL,
    projects_counted integer,
    projects_known integer NOT NULL,
    projects_lost integer NOT NULL,
    defects json NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    search_indexed boolean DEFAULT false NOT NULL,
    kind character varying(10) DEFAULT 'complete'::character varying NOT NULL,
    updated_until timestamp with time zone,
    checkpoint bytea,
    doubt character varying(10) DEFAULT ''::character varying NOT NULL,
    projects_unseen integer DEFAULT 0 NOT NULL
);
CREATE SEQUENCE public.catalogue_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.catalogue_run_id_seq OWNED BY public.catalogue_run.id;
CREATE TABLE public.connection (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    slug character varying(64) NOT NULL,
    display_name character varying(100) NOT NULL,
    name_key character varying(400) NOT NULL,
    method character varying(20) NOT NULL,
    state character varying(40) NOT NULL,
    attention json,
    external_url character varying(500) NOT NULL,
    api_url character varying(500) NOT NULL,
    ca_certificate character varying NOT NULL,
    proxy character varying(500) NOT NULL,
    service_username character varying(255) NOT NULL,
    services json NOT NULL,
    hooks_wanted boolean NOT NULL,
    version_seen character varying(64) NOT NULL,
    edition_seen character varying(8) NOT NULL,
    checks json,
    steps_done json NOT NULL,
    row_version integer NOT NULL,
    created_by_user_id bigint,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    authorized_at timestamp with time zone,
    authorized_via json,
    last_read_at timestamp with time zone,
    server_id bigint
);
CREATE SEQUENCE public.connection_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.connection_id_seq OWNED BY public.connection.id;
CREATE TABLE public.credential (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    method character varying(20) NOT NULL,
    access_token_sealed bytea,
    refresh_token_sealed bytea,
    origin character varying(300) NOT NULL,
    scopes json NOT NULL,
    expires_at timestamp with time zone,
    gitlab_user_id bigint NOT NULL,
    gitlab_username character varying(255) NOT NULL,
    gitlab_name character varying(255) NOT NULL,
    generation integer NOT NULL,
    obtained_at timestamp with time zone NOT NULL,
    authorized_by_user_id bigint,
    state character varying(20) NOT NULL,
    refresh_at timestamp with time zone,
    refreshed_at timestamp with time zone,
    lease_owner character varying(100) NOT NULL,
    lease_until timestamp with time zone,
    lease_holder json,
    intent_id character varying(40) NOT NULL,
    intent_at timestamp with time zone,
    may_be_spent boolean NOT NULL,
    is_access_refused boolean NOT NULL,
    is_stateless boolean NOT NULL,
    refusals integer NOT NULL,
    refused_at timestamp with time zone,
    client_refusals integer NOT NULL,
    client_refused_at timestamp with time zone,
    failures integer NOT NULL,
    cooldown_until timestamp with time zone,
    failure json,
    failed_at timestamp with time zone,
    refused_application character varying(40) NOT NULL,
    client_id character varying(255) NOT NULL,
    client_secret_sealed bytea,
    token_details json,
    is_rotated boolean DEFAULT false NOT NULL
);
CREATE TABLE public.credential_event (
    id bigint NOT NULL,
    credential_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind character varying(40) NOT NULL,
    generation integer NOT NULL,
    process character varying(100) NOT NULL,
    reason character varying(200) NOT NULL,
    details json NOT NULL
);
CREATE SEQUENCE public.credential_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.credential_event_id_seq OWNED BY public.credential_event.id;
CREATE SEQUENCE public.credential_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.credential_id_seq OWNED BY public.credential.id;
CREATE TABLE public.delivery (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    hook_id bigint,
    key character varying(100) NOT NULL,
    event character varying(100) NOT NULL,
    received_at timestamp with time zone NOT NULL,
    verified_by character varying(10) NOT NULL,
    body bytea,
    size integer NOT NULL,
    gitlab_version character varying(20) NOT NULL,
    gitlab_project_id bigint,
    verdict character varying(10) NOT NULL,
    effect character varying(40) NOT NULL,
    applied_at timestamp with time zone,
    level character varying(10) DEFAULT ''::character varying NOT NULL,
    subject_id bigint DEFAULT '0'::bigint NOT NULL,
    copies integer DEFAULT 0 NOT NULL,
    copied_at timestamp with time zone,
    happening json,
    occurrence character varying(64)
);
CREATE TABLE public.delivery_count (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    hook_id bigint NOT NULL,
    hour timestamp with time zone NOT NULL,
    outcome character varying(20) NOT NULL,
    number integer NOT NULL,
    first_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.delivery_count_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.delivery_count_id_seq OWNED BY public.delivery_count.id;
CREATE SEQUENCE public.delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.delivery_id_seq OWNED BY public.delivery.id;
CREATE TABLE public.deployment (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    gitlab_id bigint NOT NULL,
    environment character varying(255) NOT NULL,
    updated bigint NOT NULL
);
CREATE SEQUENCE public.deployment_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.deployment_id_seq OWNED BY public.deployment.id;
CREATE TABLE public.disconnection (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    choice character varying(10) NOT NULL,
    requested_by_user_id bigint,
    requested_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.disconnection_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.disconnection_id_seq OWNED BY public.disconnection.id;
CREATE TABLE public.enablement (
    id bigint NOT NULL,
    repository_id bigint NOT NULL,
    connection_id bigint NOT NULL,
    state character varying(20) NOT NULL,
    enabled_by_user_id bigint,
    enabled_at timestamp with time zone NOT NULL,
    rule_id bigint,
    ends_at timestamp with time zone,
    services json,
    reviewed_at timestamp with time zone,
    reviewed_by_user_id bigint
);
CREATE SEQUENCE public.enablement_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.enablement_id_seq OWNED BY public.enablement.id;
CREATE TABLE public.executor (
    executor_id character varying(64) NOT NULL,
    host character varying(255) NOT NULL,
    pid integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL
);
CREATE TABLE public.figure_block (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    block bigint NOT NULL,
    lanes bytea NOT NULL,
    cycles bytea NOT NULL,
    deliveries bytea NOT NULL
);
CREATE SEQUENCE public.figure_block_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.figure_block_id_seq OWNED BY public.figure_block.id;
CREATE TABLE public.git_commit (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    sha bytea NOT NULL,
    parents bytea NOT NULL,
    authored bigint NOT NULL,
    committed bigint NOT NULL
);
CREATE SEQUENCE public.git_commit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.git_commit_id_seq OWNED BY public.git_commit.id;
CREATE TABLE public.gitlab_group (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    gitlab_group_id bigint NOT NULL,
    parent_gitlab_group_id bigint,
    name character varying(500) NOT NULL,
    full_path character varying(1000) NOT NULL COLLATE pg_catalog."C",
    kind character varying(10) NOT NULL,
    seen_in_run_id bigint
);
CREATE SEQUENCE public.gitlab_group_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.gitlab_group_id_seq OWNED BY public.gitlab_group.id;
CREATE TABLE public.gitlab_person (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    gitlab_user_id bigint NOT NULL,
    username character varying(255) NOT NULL,
    name character varying(255) NOT NULL
);
CREATE SEQUENCE public.gitlab_person_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.gitlab_person_id_seq OWNED BY public.gitlab_person.id;
CREATE TABLE public.gitlab_server (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    external_url character varying(500) NOT NULL,
    api_url character varying(500) NOT NULL,
    ca_certificate character varying NOT NULL,
    proxy character varying(500) NOT NULL,
    proxy_exceptions character varying(2000) NOT NULL,
    client_certificate character varying NOT NULL,
    client_key_sealed bytea,
    header_name character varying(100) NOT NULL,
    header_value_sealed bytea,
    origin character varying(300) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.gitlab_server_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.gitlab_server_id_seq OWNED BY public.gitlab_server.id;
CREATE TABLE public.group_grant (
    id bigint NOT NULL,
    membership_id bigint NOT NULL,
    connection_id bigint NOT NULL,
    gitlab_group_id bigint NOT NULL,
    granted_by_user_id bigint,
    created_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.group_grant_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.group_grant_id_seq OWNED BY public.group_grant.id;
CREATE TABLE public.hand_over (
    id bigint NOT NULL,
    public_id character varying(40) NOT NULL,
    connection_id bigint NOT NULL,
    step character varying(20) NOT NULL,
    token_hash character varying(64) NOT NULL,
    browser_hash character varying(64) NOT NULL,
    recipient character varying(100) NOT NULL,
    requested_by_user_id bigint NOT NULL,
    external_url character varying(500) NOT NULL,
    api_url character varying(500) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    opened_at timestamp with time zone,
    opened_from character varying(64) NOT NULL,
    sent_at timestamp with time zone,
    tries integer NOT NULL,
    card json,
    outcome character varying(20) NOT NULL,
    ended_at timestamp with time zone,
    reason character varying(500) NOT NULL
);
CREATE SEQUENCE public.hand_over_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.hand_over_id_seq OWNED BY public.hand_over.id;
CREATE TABLE public.health_check (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    key character varying(30) NOT NULL,
    at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    state character varying(10) NOT NULL,
    note character varying(30) NOT NULL,
    params json NOT NULL,
    card json,
    is_current boolean NOT NULL
);
CREATE SEQUENCE public.health_check_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.health_check_id_seq OWNED BY public.health_check.id;
CREATE TABLE public.health_watch (
    connection_id bigint NOT NULL,
    state character varying(10) NOT NULL,
    since timestamp with time zone NOT NULL,
    checked_at timestamp with time zone NOT NULL,
    answered_at timestamp with time zone,
    due_at timestamp with time zone NOT NULL,
    addresses json NOT NULL
);
CREATE TABLE public.held_back (
    repository_id bigint NOT NULL,
    connection_id bigint NOT NULL,
    user_id bigint,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.hook (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    public_id character varying(40) NOT NULL,
    level character varying(10) NOT NULL,
    subject_id bigint NOT NULL,
    repository_id bigint,
    mode character varying(10) NOT NULL,
    status character varying(20) NOT NULL,
    card json,
    gitlab_hook_id bigint,
    url character varying(1500) NOT NULL,
    events json NOT NULL,
    origin character varying(300) NOT NULL,
    token_sealed bytea,
    signing_token_sealed bytea,
    previous_token_sealed bytea,
    previous_signing_token_sealed bytea,
    previous_until timestamp with time zone,
    uses_signature boolean NOT NULL,
    signed_from timestamp with time zone,
    intent character varying(20) NOT NULL,
    intent_at timestamp with time zone,
    checked_at timestamp with time zone,
    proved_at timestamp with time zone,
    latency_ms integer,
    last_delivery_at timestamp with time zone,
    verified_by character varying(10) NOT NULL,
    events_seen json NOT NULL,
    refused_at timestamp with time zone,
    repaired_at timestamp with time zone,
    repairs json NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.hook_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.hook_id_seq OWNED BY public.hook.id;
CREATE TABLE public.hook_plan (
    connection_id bigint NOT NULL,
    level character varying(10) NOT NULL,
    fingerprint character varying(64) NOT NULL,
    compared_at timestamp with time zone,
    card json
);
CREATE TABLE public.incident (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    cause character varying(60) NOT NULL,
    check_key character varying(30) NOT NULL,
    is_passing boolean NOT NULL,
    level character varying(10) NOT NULL,
    layer character varying(30) NOT NULL,
    card json NOT NULL,
    phase character varying(10) NOT NULL,
    count integer NOT NULL,
    row_count integer NOT NULL,
    row_began_at timestamp with time zone NOT NULL,
    last_failed_at timestamp with time zone NOT NULL,
    opened_at timestamp with time zone,
    closed_at timestamp with time zone,
    alarmed_at timestamp with time zone,
    alarm_mailed_at timestamp with time zone,
    end_mailed_at timestamp with time zone,
    warned_days integer
);
CREATE SEQUENCE public.incident_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.incident_id_seq OWNED BY public.incident.id;
CREATE TABLE public.ingestion (
    connection_id bigint NOT NULL,
    months integer NOT NULL,
    has_initials boolean NOT NULL,
    merge_requests_until bigint,
    issues_until bigint,
    read_at timestamp with time zone,
    compared_at timestamp with time zone,
    row_version integer NOT NULL
);
CREATE TABLE public.instance (
    id bigint NOT NULL,
    epoch character varying(32) NOT NULL,
    former_epochs json NOT NULL,
    signs json NOT NULL,
    addresses json NOT NULL,
    written_by character varying(20) NOT NULL,
    has_witness boolean NOT NULL,
    made_at timestamp with time zone NOT NULL,
    restored_at timestamp with time zone,
    seen json NOT NULL,
    backup_made_at timestamp with time zone,
    confirmed_at timestamp with time zone
);
CREATE TABLE public.invitation (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    token_hash character varying(64) NOT NULL,
    email character varying(254) NOT NULL,
    role character varying(20) NOT NULL,
    invited_by_user_id bigint,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    accepted_at timestamp with time zone
);
CREATE SEQUENCE public.invitation_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.invitation_id_seq OWNED BY public.invitation.id;
CREATE TABLE public.invited_group (
    id bigint NOT NULL,
    invitation_id bigint NOT NULL,
    connection_id bigint NOT NULL,
    gitlab_group_id bigint NOT NULL
);
CREATE SEQUENCE public.invited_group_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.invited_group_id_seq OWNED BY public.invited_group.id;
CREATE TABLE public.issue (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    iid bigint NOT NULL,
    state character varying(10) NOT NULL,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    closed bigint
);
CREATE SEQUENCE public.issue_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.issue_id_seq OWNED BY public.issue.id;
CREATE TABLE public.job (
    id bigint NOT NULL,
    public_id character varying(32) NOT NULL,
    organization_id bigint,
    actor_kind character varying(20) NOT NULL,
    actor_id character varying(200) NOT NULL,
    actor_name character varying(200) NOT NULL,
    name character varying(100) NOT NULL,
    title character varying(300) NOT NULL,
    subject character varying(100) NOT NULL,
    args json NOT NULL,
    lane character varying(100) NOT NULL,
    key character varying(200),
    state character varying(20) NOT NULL,
    done integer NOT NULL,
    total integer,
    message character varying(300) NOT NULL,
    failure json,
    attempts integer NOT NULL,
    fence integer NOT NULL,
    dispatch integer NOT NULL,
    handed_over_at timestamp with time zone,
    not_before timestamp with time zone,
    stop_requested_at timestamp with time zone,
    executor_id character varying(64) NOT NULL,
    request_id character varying(32) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone
);
CREATE SEQUENCE public.job_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.job_id_seq OWNED BY public.job.id;
CREATE TABLE public.job_item (
    id bigint NOT NULL,
    job_id bigint NOT NULL,
    ref character varying(200) NOT NULL,
    label character varying(1000) NOT NULL,
    state character varying(20) NOT NULL,
    message character varying(500) NOT NULL
);
CREATE SEQUENCE public.job_item_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.job_item_id_seq OWNED BY public.job_item.id;
CREATE TABLE public.job_schedule (
    name character varying(100) NOT NULL,
    enqueued_at timestamp with time zone NOT NULL
);
CREATE TABLE public.membership (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    user_id bigint NOT NULL,
    role character varying(20) NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.membership_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.membership_id_seq OWNED BY public.membership.id;
CREATE TABLE public.merge_request (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    iid bigint NOT NULL,
    state character varying(10) NOT NULL,
    is_draft boolean NOT NULL,
    author_id bigint,
    reviewer_ids json NOT NULL,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    merged bigint,
    closed bigint,
    merge_sha bytea,
    first_commit bigint,
    is_traced boolean NOT NULL
);
CREATE SEQUENCE public.merge_request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.merge_request_id_seq OWNED BY public.merge_request.id;
CREATE TABLE public.namespace (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    path character varying(1000) NOT NULL COLLATE pg_catalog."C",
    total integer NOT NULL,
    enabled integer NOT NULL,
    blocked integer NOT NULL,
    enabled_blocked integer NOT NULL
);
CREATE SEQUENCE public.namespace_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.namespace_id_seq OWNED BY public.namespace.id;
CREATE TABLE public.open_work (
    repository_id bigint NOT NULL,
    connection_id bigint NOT NULL,
    opened bytea NOT NULL,
    waiting bytea NOT NULL,
    asked bytea NOT NULL,
    drafts integer NOT NULL,
    issues integer NOT NULL
);
CREATE TABLE public.organization (
    id bigint NOT NULL,
    name character varying(100) NOT NULL,
    plan character varying(40) NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.organization_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.organization_id_seq OWNED BY public.organization.id;
CREATE TABLE public.outbound_try (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    kind character varying(20) NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.outbound_try_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.outbound_try_id_seq OWNED BY public.outbound_try.id;
CREATE TABLE public.provisioning_run (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    kind character varying(20) NOT NULL,
    state character varying(20) NOT NULL,
    wanted json NOT NULL,
    results json NOT NULL,
    started_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone
);
CREATE SEQUENCE public.provisioning_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.provisioning_run_id_seq OWNED BY public.provisioning_run.id;
CREATE TABLE public.rate_limit (
    origin character varying(300) NOT NULL,
    per_minute integer NOT NULL,
    remaining integer NOT NULL,
    seen_at timestamp with time zone NOT NULL
);
CREATE TABLE public.reading (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    kind character varying(20) NOT NULL,
    begin bigint NOT NULL,
    cursor bigint NOT NULL,
    is_complete boolean NOT NULL,
    read_at timestamp with time zone,
    due_at timestamp with time zone,
    card json,
    failures integer NOT NULL,
    is_stale boolean NOT NULL,
    unreadable integer NOT NULL
);
CREATE SEQUENCE public.reading_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.reading_id_seq OWNED BY public.reading.id;
CREATE TABLE public.repository (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    gitlab_project_id bigint NOT NULL,
    name character varying(500) NOT NULL,
    path_with_namespace character varying(1000) NOT NULL COLLATE pg_catalog."C",
    namespace_path character varying(1000) NOT NULL COLLATE pg_catalog."C",
    gitlab_namespace_id bigint,
    web_url character varying(1500) NOT NULL,
    description character varying(500) NOT NULL,
    default_branch character varying(500) NOT NULL,
    visibility character varying(20) NOT NULL,
    access_level bigint,
    archived boolean NOT NULL,
    is_empty boolean NOT NULL,
    object_format character varying(10) NOT NULL,
    repository_enabled boolean NOT NULL,
    marked_for_deletion boolean NOT NULL,
    unavailable_reason character varying(40) NOT NULL,
    last_activity_at timestamp with time zone,
    missing_since timestamp with time zone,
    search_text character varying(1600) NOT NULL,
    digest bytea NOT NULL,
    role_source character varying(10) DEFAULT ''::character varying NOT NULL,
    unseen_since timestamp with time zone
);
CREATE SEQUENCE public.repository_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.repository_id_seq OWNED BY public.repository.id;
CREATE TABLE public.repository_request (
    id bigint NOT NULL,
    repository_id bigint NOT NULL,
    connection_id bigint NOT NULL,
    user_id bigint NOT NULL,
    reason character varying(1000) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    state character varying(10) NOT NULL,
    decided_by_user_id bigint,
    decided_at timestamp with time zone,
    answer character varying(1000) NOT NULL,
    ends_at timestamp with time zone
);
CREATE SEQUENCE public.repository_request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.repository_request_id_seq OWNED BY public.repository_request.id;
CREATE TABLE public.request_agreement (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    origin character varying(300) NOT NULL,
    per_second integer NOT NULL,
    at_once integer NOT NULL,
    quiet_from integer NOT NULL,
    quiet_until integer NOT NULL,
    time_zone character varying(64) NOT NULL,
    quiet_per_second integer NOT NULL,
    agreed_with character varying(200) NOT NULL,
    note character varying(1000) NOT NULL,
    agreed_at timestamp with time zone,
    row_version integer NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.request_agreement_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.request_agreement_id_seq OWNED BY public.request_agreement.id;
CREATE TABLE public.request_budget (
    origin character varying(300) NOT NULL,
    next_at double precision NOT NULL,
    cooled_until double precision NOT NULL,
    holders json NOT NULL,
    written_at double precision NOT NULL,
    quiet_next_at double precision DEFAULT '0'::double precision NOT NULL
);
CREATE TABLE public.request_count (
    id bigint NOT NULL,
    origin character varying(300) NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    purpose character varying(20) NOT NULL,
    requests integer NOT NULL,
    refused integer NOT NULL,
    waited_ms integer NOT NULL
);
CREATE SEQUENCE public.request_count_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.request_count_id_seq OWNED BY public.request_count.id;
CREATE TABLE public.request_news (
    membership_id bigint NOT NULL,
    told_until timestamp with time zone NOT NULL,
    mailed_at timestamp with time zone
);
CREATE TABLE public.request_slowdown (
    id bigint NOT NULL,
    origin character varying(300) NOT NULL,
    reason character varying(20) NOT NULL,
    began_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    requests integer NOT NULL
);
CREATE SEQUENCE public.request_slowdown_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.request_slowdown_id_seq OWNED BY public.request_slowdown.id;
CREATE TABLE public.retired_token (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    connection_id bigint NOT NULL,
    connection_name character varying(100) NOT NULL,
    token_sealed bytea,
    access_token_sealed bytea,
    refresh_sent_at timestamp with time zone,
    method character varying(20) NOT NULL,
    snapshot json NOT NULL,
    client_secret_sealed bytea,
    origin character varying(300) NOT NULL,
    reason character varying(40) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    tries integer NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    failure json,
    revoked_at timestamp with time zone,
    proof character varying(40) NOT NULL
);
CREATE SEQUENCE public.retired_token_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.retired_token_id_seq OWNED BY public.retired_token.id;
CREATE TABLE public.review (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    iid bigint NOT NULL,
    gitlab_user_id bigint NOT NULL,
    first bigint NOT NULL
);
CREATE SEQUENCE public.review_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.review_id_seq OWNED BY public.review.id;
CREATE TABLE public.review_schedule (
    organization_id bigint NOT NULL,
    every_months integer NOT NULL
);
CREATE TABLE public.reviewer_block (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    repository_id bigint NOT NULL,
    block bigint NOT NULL,
    gitlab_user_id bigint NOT NULL,
    answers bytea NOT NULL
);
CREATE SEQUENCE public.reviewer_block_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.reviewer_block_id_seq OWNED BY public.reviewer_block.id;
CREATE TABLE public.selection_rule (
    id bigint NOT NULL,
    connection_id bigint NOT NULL,
    "position" integer NOT NULL,
    action character varying(10) NOT NULL,
    pattern character varying(500) NOT NULL,
    visibility character varying(20) NOT NULL,
    active_months integer NOT NULL,
    archived character varying(3) NOT NULL
);
CREATE SEQUENCE public.selection_rule_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.selection_rule_id_seq OWNED BY public.selection_rule.id;
CREATE TABLE public.session (
    id bigint NOT NULL,
    token_hash character varying(64) NOT NULL,
    user_id bigint NOT NULL,
    organization_id bigint NOT NULL,
    data json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    last_active_at timestamp with time zone NOT NULL,
    proved_at timestamp with time zone NOT NULL,
    source character varying(64) NOT NULL,
    user_agent character varying(200) NOT NULL
);
CREATE SEQUENCE public.session_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.session_id_seq OWNED BY public.session.id;
CREATE TABLE public.setup_token (
    id bigint NOT NULL,
    token_hash character varying(64) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);
CREATE SEQUENCE public.setup_token_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.setup_token_id_seq OWNED BY public.setup_token.id;
CREATE TABLE public.sign_in_attempt (
    id bigint NOT NULL,
    account_hash character varying(64) NOT NULL,
    source_hash character varying(64) NOT NULL,
    succeeded boolean NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.sign_in_attempt_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.sign_in_attempt_id_seq OWNED BY public.sign_in_attempt.id;
CREATE TABLE public.site (
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    slug character varying(60) NOT NULL,
    name character varying(100) NOT NULL,
    name_key character varying(400) NOT NULL,
    folder_name character varying(40) NOT NULL,
    created_by_user_id bigint,
    created_at timestamp with time zone NOT NULL,
    state character varying(20) NOT NULL,
    card json,
    head character varying(64) NOT NULL,
    head_at timestamp with time zone,
    files integer NOT NULL,
    connection_id bigint,
    repository_id bigint,
    gitlab_project_id bigint,
    branch character varying(255) NOT NULL,
    folder character varying(1000) NOT NULL,
    connected_at timestamp with time zone,
    gitlab_head character varying(64) NOT NULL,
    synced_at timestamp with time zone,
    due_at timestamp with time zone,
    demands integer NOT NULL,
    check_at timestamp with time zone,
    failures integer NOT NULL,
    merge_request_iid bigint,
    merge_request_url character varying(1500) NOT NULL
);
CREATE TABLE public.site_conflict (
    id bigint NOT NULL,
    site_id bigint NOT NULL,
    number integer NOT NULL,
    folder character varying(1000) NOT NULL,
    path character varying(4096) NOT NULL,
    here character varying(64) NOT NULL,
    gitlab character varying(64) NOT NULL,
    base character varying(64) NOT NULL,
    found_at timestamp with time zone NOT NULL,
    resolution character varying(10) NOT NULL,
    resolved_at timestamp with time zone,
    resolved_by_user_id bigint
);
CREATE SEQUENCE public.site_conflict_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.site_conflict_id_seq OWNED BY public.site_conflict.id;
CREATE SEQUENCE public.site_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.site_id_seq OWNED BY public.site.id;
CREATE TABLE public."user" (
    id bigint NOT NULL,
    email character varying(254) NOT NULL,
    name character varying(100) NOT NULL,
    password_hash character varying(255),
    is_disabled boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    last_signed_in_at timestamp with time zone
);
CREATE SEQUENCE public.user_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.user_id_seq OWNED BY public."user".id;
CREATE TABLE public.vault_key (
    key_id character varying(16) NOT NULL,
    check_value character varying(64) NOT NULL,
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.access_log ALTER COLUMN id SET DEFAULT nextval('public.access_log_id_seq'::regclass);
ALTER TABLE ONLY public.alarm_mail ALTER COLUMN id SET DEFAULT nextval('public.alarm_mail_id_seq'::regclass);
ALTER TABLE ONLY public.application ALTER COLUMN id SET DEFAULT nextval('public.application_id_seq'::regclass);
ALTER TABLE ONLY public.audit_verification ALTER COLUMN id SET DEFAULT nextval('public.audit_verification_id_seq'::regclass);
ALTER TABLE ONLY public.authorization_attempt ALTER COLUMN id SET DEFAULT nextval('public.authorization_attempt_id_seq'::regclass);
ALTER TABLE ONLY public.bulk_change ALTER COLUMN id SET DEFAULT nextval('public.bulk_change_id_seq'::regclass);
ALTER TABLE ONLY public.bulk_item ALTER COLUMN id SET DEFAULT nextval('public.bulk_item_id_seq'::regclass);
ALTER TABLE ONLY public.catalogue_run ALTER COLUMN id SET DEFAULT nextval('public.catalogue_run_id_seq'::regclass);
ALTER TABLE ONLY public.connection ALTER COLUMN id SET DEFAULT nextval('public.connection_id_seq'::regclass);
ALTER TABLE ONLY public.credential ALTER COLUMN id SET DEFAULT nextval('public.credential_id_seq'::regclass);
ALTER TABLE ONLY public.credential_event ALTER COLUMN id SET DEFAULT nextval('public.credential_event_id_seq'::regclass);
ALTER TABLE ONLY public.delivery ALTER COLUMN id SET DEFAULT nextval('public.delivery_id_seq'::regclass);
ALTER TABLE ONLY public.delivery_count ALTER COLUMN id SET DEFAULT nextval('public.delivery_count_id_seq'::regclass);
ALTER TABLE ONLY public.deployment ALTER COLUMN id SET DEFAULT nextval('public.deployment_id_seq'::regclass);
ALTER TABLE ONLY public.disconnection ALTER COLUMN id SET DEFAULT nextval('public.disconnection_id_seq'::regclass);
ALTER TABLE ONLY public.enablement ALTER COLUMN id SET DEFAULT nextval('public.enablement_id_seq'::regclass);
ALTER TABLE ONLY public.figure_block ALTER COLUMN id SET DEFAULT nextval('public.figure_block_id_seq'::regclass);
ALTER TABLE ONLY public.git_commit ALTER COLUMN id SET DEFAULT nextval('public.git_commit_id_seq'::regclass);
ALTER TABLE ONLY public.gitlab_group ALTER COLUMN id SET DEFAULT nextval('public.gitlab_group_id_seq'::regclass);
ALTER TABLE ONLY public.gitlab_person ALTER COLUMN id SET DEFAULT nextval('public.gitlab_person_id_seq'::regclass);
ALTER TABLE ONLY public.gitlab_server ALTER COLUMN id SET DEFAULT nextval('public.gitlab_server_id_seq'::regclass);
ALTER TABLE ONLY public.group_grant ALTER COLUMN id SET DEFAULT nextval('public.group_grant_id_seq'::regclass);
ALTER TABLE ONLY public.hand_over ALTER COLUMN id SET DEFAULT nextval('public.hand_over_id_seq'::regclass);
ALTER TABLE ONLY public.health_check ALTER COLUMN id SET DEFAULT nextval('public.health_check_id_seq'::regclass);
ALTER TABLE ONLY public.hook ALTER COLUMN id SET DEFAULT nextval('public.hook_id_seq'::regclass);
ALTER TABLE ONLY public.incident ALTER COLUMN id SET DEFAULT nextval('public.incident_id_seq'::regclass);
ALTER TABLE ONLY public.invitation ALTER COLUMN id SET DEFAULT nextval('public.invitation_id_seq'::regclass);
ALTER TABLE ONLY public.invited_group ALTER COLUMN id SET DEFAULT nextval('public.invited_group_id_seq'::regclass);
ALTER TABLE ONLY public.issue ALTER COLUMN id SET DEFAULT nextval('public.issue_id_seq'::regclass);
ALTER TABLE ONLY public.job ALTER COLUMN id SET DEFAULT nextval('public.job_id_seq'::regclass);
ALTER TABLE ONLY public.job_item ALTER COLUMN id SET DEFAULT nextval('public.job_item_id_seq'::regclass);
ALTER TABLE ONLY public.membership ALTER COLUMN id SET DEFAULT nextval('public.membership_id_seq'::regclass);
ALTER TABLE ONLY public.merge_request ALTER COLUMN id SET DEFAULT nextval('public.merge_request_id_seq'::regclass);
ALTER TABLE ONLY public.namespace ALTER COLUMN id SET DEFAULT nextval('public.namespace_id_seq'::regclass);
ALTER TABLE ONLY public.organization ALTER COLUMN id SET DEFAULT nextval('public.organization_id_seq'::regclass);
ALTER TABLE ONLY public.outbound_try ALTER COLUMN id SET DEFAULT nextval('public.outbound_try_id_seq'::regclass);
ALTER TABLE ONLY public.provisioning_run ALTER COLUMN id SET DEFAULT nextval('public.provisioning_run_id_seq'::regclass);
ALTER TABLE ONLY public.reading ALTER COLUMN id SET DEFAULT nextval('public.reading_id_seq'::regclass);
ALTER TABLE ONLY public.repository ALTER COLUMN id SET DEFAULT nextval('public.repository_id_seq'::regclass);
ALTER TABLE ONLY public.repository_request ALTER COLUMN id SET DEFAULT nextval('public.repository_request_id_seq'::regclass);
ALTER TABLE ONLY public.request_agreement ALTER COLUMN id SET DEFAULT nextval('public.request_agreement_id_seq'::regclass);
ALTER TABLE ONLY public.request_count ALTER COLUMN id SET DEFAULT nextval('public.request_count_id_seq'::regclass);
ALTER TABLE ONLY public.request_slowdown ALTER COLUMN id SET DEFAULT nextval('public.request_slowdown_id_seq'::regclass);
ALTER TABLE ONLY public.retired_token ALTER COLUMN id SET DEFAULT nextval('public.retired_token_id_seq'::regclass);
ALTER TABLE ONLY public.review ALTER COLUMN id SET DEFAULT nextval('public.review_id_seq'::regclass);
ALTER TABLE ONLY public.reviewer_block ALTER COLUMN id SET DEFAULT nextval('public.reviewer_block_id_seq'::regclass);
ALTER TABLE ONLY public.selection_rule ALTER COLUMN id SET DEFAULT nextval('public.selection_rule_id_seq'::regclass);
ALTER TABLE ONLY public.session ALTER COLUMN id SET DEFAULT nextval('public.session_id_seq'::regclass);
ALTER TABLE ONLY public.setup_token ALTER COLUMN id SET DEFAULT nextval('public.setup_token_id_seq'::regclass);
ALTER TABLE ONLY public.sign_in_attempt ALTER COLUMN id SET DEFAULT nextval('public.sign_in_attempt_id_seq'::regclass);
ALTER TABLE ONLY public.site ALTER COLUMN id SET DEFAULT nextval('public.site_id_seq'::regclass);
ALTER TABLE ONLY public.site_conflict ALTER COLUMN id SET DEFAULT nextval('public.site_conflict_id_seq'::regclass);
ALTER TABLE ONLY public."user" ALTER COLUMN id SET DEFAULT nextval('public.user_id_seq'::regclass);
INSERT INTO public.access_log VALUES (1, 1, '2026-01-01 00:00:00+00', 1, 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x');
INSERT INTO public.alarm_mail VALUES (1, 1, 'x', 1, '2026-01-01 00:00:00+00');
INSERT INTO public.alembic_version VALUES ('0022');
INSERT INTO public.application VALUES (1, 1, 'x', '\x78', 'x', 'x', 'x', 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.audit_event VALUES (1, '2026-01-01 00:00:00+00', 1, 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', '{}', '{}', 'x', 'x');
INSERT INTO public.audit_head VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO public.audit_verification VALUES (1, '2026-01-01 00:00:00+00', 1, 1, 'x');
INSERT INTO public.authorization_attempt VALUES (1, 'x', 1, 1, 'x', 'x', '\x78', '\x78', '{}', 1, 'x', '{}', '{}', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.bulk_change VALUES (1, 1, 1, 1, 1, false, '{}', 1, '2026-01-01 00:00:00+00');
INSERT INTO public.bulk_item VALUES (1, 1, 1, 'x', '2026-01-01 00:00:00+00', '{}');
INSERT INTO public.catalogue_run VALUES (1, 1, 'x', false, 1, 1, 1, 1, 1, '{}', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', false, 'x', '2026-01-01 00:00:00+00', '\x78', 'x', 1);
INSERT INTO public.connection VALUES (1, 1, 'x', 'x', 'x', 'x', 'x', '{}', 'x', 'x', 'x', 'x', 'x', '{}', false, 'x', 'x', '{}', '{}', 1, 1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '{}', '2026-01-01 00:00:00+00', 1);
INSERT INTO public.credential VALUES (1, 1, 'x', '\x78', '\x78', 'x', '{}', '2026-01-01 00:00:00+00', 1, 'x', 'x', 1, '2026-01-01 00:00:00+00', 1, 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 'x', '2026-01-01 00:00:00+00', '{}', 'x', '2026-01-01 00:00:00+00', false, false, false, 1, '2026-01-01 00:00:00+00', 1, '2026-01-01 00:00:00+00', 1, '2026-01-01 00:00:00+00', '{}', '2026-01-01 00:00:00+00', 'x', 'x', '\x78', '{}', false);
INSERT INTO public.credential_event VALUES (1, 1, '2026-01-01 00:00:00+00', 'x', 1, 'x', 'x', '{}');
INSERT INTO public.delivery VALUES (1, 1, 1, 'x', 'x', '2026-01-01 00:00:00+00', 'x', '\x78', 1, 'x', 1, 'x', 'x', '2026-01-01 00:00:00+00', 'x', 1, 1, '2026-01-01 00:00:00+00', '{}', 'x');
INSERT INTO public.delivery_count VALUES (1, 1, 1, '2026-01-01 00:00:00+00', 'x', 1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.deployment VALUES (1, 1, 1, 1, 'x', 1);
INSERT INTO public.disconnection VALUES (1, 1, 'x', 1, '2026-01-01 00:00:00+00');
INSERT INTO public.enablement VALUES (1, 1, 1, 'x', 1, '2026-01-01 00:00:00+00', 1, '2026-01-01 00:00:00+00', '{}', '2026-01-01 00:00:00+00', 1);
INSERT INTO public.executor VALUES ('x', 'x', 1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.figure_block VALUES (1, 1, 1, 1, '\x78', '\x78', '\x78');
INSERT INTO public.git_commit VALUES (1, 1, 1, '\x78', '\x78', 1, 1);
INSERT INTO public.gitlab_group VALUES (1, 1, 1, 1, 'x', 'x', 'x', 1);
INSERT INTO public.gitlab_person VALUES (1, 1, 1, 'x', 'x');
INSERT INTO public.gitlab_server VALUES (1, 1, 'x', 'x', 'x', 'x', 'x', 'x', '\x78', 'x', '\x78', 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.group_grant VALUES (1, 1, 1, 1, 1, '2026-01-01 00:00:00+00');
INSERT INTO public.hand_over VALUES (1, 'x', 1, 'x', 'x', 'x', 'x', 1, 'x', 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 'x', '2026-01-01 00:00:00+00', 1, '{}', 'x', '2026-01-01 00:00:00+00', 'x');
INSERT INTO public.health_check VALUES (1, 1, 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 'x', 'x', '{}', '{}', false);
INSERT INTO public.health_watch VALUES (1, 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '{}');
INSERT INTO public.held_back VALUES (1, 1, 1, '2026-01-01 00:00:00+00');
INSERT INTO public.hook VALUES (1, 1, 'x', 'x', 1, 1, 'x', 'x', '{}', 1, 'x', '{}', 'x', '\x78', '\x78', '\x78', '\x78', '2026-01-01 00:00:00+00', false, '2026-01-01 00:00:00+00', 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 1, '2026-01-01 00:00:00+00', 'x', '{}', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '{}', '2026-01-01 00:00:00+00');
INSERT INTO public.hook_plan VALUES (1, 'x', 'x', '2026-01-01 00:00:00+00', '{}');
INSERT INTO public.incident VALUES (1, 1, 'x', 'x', false, 'x', 'x', '{}', 'x', 1, 1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 1);
INSERT INTO public.ingestion VALUES (1, 1, false, 1, 1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 1);
INSERT INTO public.instance VALUES (1, 'x', '{}', '{}', '{}', 'x', false, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '{}', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.invitation VALUES (1, 1, 'x', 'x', 'x', 1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.invited_group VALUES (1, 1, 1, 1);
INSERT INTO public.issue VALUES (1, 1, 1, 1, 'x', 1, 1, 1);
INSERT INTO public.job VALUES (1, 'x', 1, 'x', 'x', 'x', 'x', 'x', 'x', '{}', 'x', 'x', 'x', 1, 1, 'x', '{}', 1, 1, 1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 'x', 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.job_item VALUES (1, 1, 'x', 'x', 'x', 'x');
INSERT INTO public.job_schedule VALUES ('x', '2026-01-01 00:00:00+00');
INSERT INTO public.membership VALUES (1, 1, 1, 'x', '2026-01-01 00:00:00+00');
INSERT INTO public.merge_request VALUES (1, 1, 1, 1, 'x', false, 1, '{}', 1, 1, 1, 1, '\x78', 1, false);
INSERT INTO public.namespace VALUES (1, 1, 'x', 1, 1, 1, 1);
INSERT INTO public.open_work VALUES (1, 1, '\x78', '\x78', '\x78', 1, 1);
INSERT INTO public.organization VALUES (1, 'x', 'x', '2026-01-01 00:00:00+00');
INSERT INTO public.outbound_try VALUES (1, 1, 'x', '2026-01-01 00:00:00+00');
INSERT INTO public.provisioning_run VALUES (1, 1, 'x', 'x', '{}', '{}', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.rate_limit VALUES ('x', 1, 1, '2026-01-01 00:00:00+00');
INSERT INTO public.reading VALUES (1, 1, 1, 'x', 1, 1, false, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '{}', 1, false, 1);
INSERT INTO public.repository VALUES (1, 1, 1, 'x', 'x', 'x', 1, 'x', 'x', 'x', 'x', 1, false, false, 'x', false, false, 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 'x', '\x78', 'x', '2026-01-01 00:00:00+00');
INSERT INTO public.repository_request VALUES (1, 1, 1, 1, 'x', '2026-01-01 00:00:00+00', 'x', 1, '2026-01-01 00:00:00+00', 'x', '2026-01-01 00:00:00+00');
INSERT INTO public.request_agreement VALUES (1, 1, 'x', 1, 1, 1, 1, 'x', 1, 'x', 'x', '2026-01-01 00:00:00+00', 1, '2026-01-01 00:00:00+00');
INSERT INTO public.request_budget VALUES ('x', 1.5, 1.5, '{}', 1.5, 1.5);
INSERT INTO public.request_count VALUES (1, 'x', '2026-01-01 00:00:00+00', 'x', 1, 1, 1);
INSERT INTO public.request_news VALUES (1, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.request_slowdown VALUES (1, 'x', 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 1);
INSERT INTO public.retired_token VALUES (1, 1, 1, 'x', '\x78', '\x78', '2026-01-01 00:00:00+00', 'x', '{}', '\x78', 'x', 'x', '2026-01-01 00:00:00+00', 1, '2026-01-01 00:00:00+00', '{}', '2026-01-01 00:00:00+00', 'x');
INSERT INTO public.review VALUES (1, 1, 1, 1, 1, 1);
INSERT INTO public.review_schedule VALUES (1, 1);
INSERT INTO public.reviewer_block VALUES (1, 1, 1, 1, 1, '\x78');
INSERT INTO public.selection_rule VALUES (1, 1, 1, 'x', 'x', 'x', 1, 'x');
INSERT INTO public.session VALUES (1, 'x', 1, 1, '{}', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 'x', 'x');
INSERT INTO public.setup_token VALUES (1, 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.sign_in_attempt VALUES (1, 'x', 'x', false, '2026-01-01 00:00:00+00');
INSERT INTO public.site VALUES (1, 1, 'x', 'x', 'x', 'x', 1, '2026-01-01 00:00:00+00', 'x', '{}', 'x', '2026-01-01 00:00:00+00', 1, 1, 1, 1, 'x', 'x', '2026-01-01 00:00:00+00', 'x', '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00', 1, '2026-01-01 00:00:00+00', 1, 1, 'x');
INSERT INTO public.site_conflict VALUES (1, 1, 1, 'x', 'x', 'x', 'x', 'x', '2026-01-01 00:00:00+00', 'x', '2026-01-01 00:00:00+00', 1);
INSERT INTO public."user" VALUES (1, 'x', 'x', 'x', false, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');
INSERT INTO public.vault_key VALUES ('x', 'x', '2026-01-01 00:00:00+00');
SELECT pg_catalog.setval('public.access_log_id_seq', 1, false);
SELECT pg_catalog.setval('public.alarm_mail_id_seq', 1, false);
SELECT pg_catalog.setval('public.application_id_seq', 1, false);
SELECT pg_catalog.setval('public.audit_verification_id_seq', 1, false);
SELECT pg_catalog.setval('public.authorization_attempt_id_seq', 1, false);
SELECT pg_catalog.setval('public.bulk_change_id_seq', 1, false);
SELECT pg_catalog.setval('public.bulk_item_id_seq', 1, false);
SELECT pg_catalog.setval('public.catalogue_run_id_seq', 1, false);
SELECT pg_catalog.setval('public.connection_id_seq', 1, false);
SELECT pg_catalog.setval('public.credential_event_id_seq', 1, false);
SELECT pg_catalog.setval('public.credential_id_seq', 1, false);
SELECT pg_catalog.setval('public.delivery_count_id_seq', 1, false);
SELECT pg_catalog.setval('public.delivery_id_seq', 1, false);
SELECT pg_catalog.setval('public.deployment_id_seq', 1, false);
SELECT pg_catalog.setval('public.disconnection_id_seq', 1, false);
SELECT pg_catalog.setval('public.enablement_id_seq', 1, false);
SELECT pg_catalog.setval('public.figure_block_id_seq', 1, false);
SELECT pg_catalog.setval('public.git_commit_id_seq', 1, false);
SELECT pg_catalog.setval('public.gitlab_group_id_seq', 1, false);
SELECT pg_catalog.setval('public.gitlab_person_id_seq', 1, false);
SELECT pg_catalog.setval('public.gitlab_server_id_seq', 1, false);
SELECT pg_catalog.setval('public.group_grant_id_seq', 1, false);
SELECT pg_catalog.setval('public.hand_over_id_seq', 1, false);
SELECT pg_catalog.setval('public.health_check_id_seq', 1, false);
SELECT pg_catalog.setval('public.hook_id_seq', 1, false);
SELECT pg_catalog.setval('public.incident_id_seq', 1, false);
SELECT pg_catalog.setval('public.invitation_id_seq', 1, false);
SELECT pg_catalog.setval('public.invited_group_id_seq', 1, false);
SELECT pg_catalog.setval('public.issue_id_seq', 1, false);
SELECT pg_catalog.setval('public.job_id_seq', 1, false);
SELECT pg_catalog.setval('public.job_item_id_seq', 1, false);
SELECT pg_catalog.setval('public.membership_id_seq', 1, false);
SELECT pg_catalog.setval('public.merge_request_id_seq', 1, false);
SELECT pg_catalog.setval('public.namespace_id_seq', 1, false);
SELECT pg_catalog.setval('public.organization_id_seq', 1, false);
SELECT pg_catalog.setval('public.outbound_try_id_seq', 1, false);
SELECT pg_catalog.setval('public.provisioning_run_id_seq', 1, false);
SELECT pg_catalog.setval('public.reading_id_seq', 1, false);
SELECT pg_catalog.setval('public.repository_id_seq', 1, false);
SELECT pg_catalog.setval('public.repository_request_id_seq', 1, false);
SELECT pg_catalog.setval('public.request_agreement_id_seq', 1, false);
SELECT pg_catalog.setval('public.request_count_id_seq', 1, false);
SELECT pg_catalog.setval('public.request_slowdown_id_seq', 1, false);
SELECT pg_catalog.setval('public.retired_token_id_seq', 1, false);
SELECT pg_catalog.setval('public.review_id_seq', 1, false);
SELECT pg_catalog.setval('public.reviewer_block_id_seq', 1, false);
SELECT pg_catalog.setval('public.selection_rule_id_seq', 1, false);
SELECT pg_catalog.setval('public.session_id_seq', 1, false);
SELECT pg_catalog.setval('public.setup_token_id_seq', 1, false);
SELECT pg_catalog.setval('public.sign_in_attempt_id_seq', 1, false);
SELECT pg_catalog.setval('public.site_conflict_id_seq', 1, false);
SELECT pg_catalog.setval('public.site_id_seq', 1, false);
SELECT pg_catalog.setval('public.user_id_seq', 1, false);
ALTER TABLE ONLY public.access_log
    ADD CONSTRAINT access_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.alarm_mail
    ADD CONSTRAINT alarm_mail_incident_id_kind_user_id_key UNIQUE (incident_id, kind, user_id);
ALTER TABLE ONLY public.alarm_mail
    ADD CONSTRAINT alarm_mail_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.application
    ADD CONSTRAINT application_connection_id_key UNIQUE (connection_id);
ALTER TABLE ONLY public.application
    ADD CONSTRAINT application_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_event
    ADD CONSTRAINT audit_event_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.audit_head
    ADD CONSTRAINT audit_head_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_verification
    ADD CONSTRAINT audit_verification_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.authorization_attempt
    ADD CONSTRAINT authorization_attempt_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.authorization_attempt
    ADD CONSTRAINT authorization_attempt_public_id_key UNIQUE (public_id);
ALTER TABLE ONLY public.authorization_attempt
    ADD CONSTRAINT authorization_attempt_state_hash_key UNIQUE (state_hash);
ALTER TABLE ONLY public.bulk_change
    ADD CONSTRAINT bulk_change_job_id_key UNIQUE (job_id);
ALTER TABLE ONLY public.bulk_change
    ADD CONSTRAINT bulk_change_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.bulk_item
    ADD CONSTRAINT bulk_item_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.bulk_item
    ADD CONSTRAINT bulk_item_repository_id_bulk_id_key UNIQUE (repository_id, bulk_id);
ALTER TABLE ONLY public.catalogue_run
    ADD CONSTRAINT catalogue_run_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.connection
    ADD CONSTRAINT connection_organization_id_name_key_key UNIQUE (organization_id, name_key);
ALTER TABLE ONLY public.connection
    ADD CONSTRAINT connection_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.connection
    ADD CONSTRAINT connection_slug_key UNIQUE (slug);
ALTER TABLE ONLY public.credential
    ADD CONSTRAINT credential_connection_id_key UNIQUE (connection_id);
ALTER TABLE ONLY public.credential_event
    ADD CONSTRAINT credential_event_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.credential
    ADD CONSTRAINT credential_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.delivery_count
    ADD CONSTRAINT delivery_count_hook_id_hour_outcome_key UNIQUE (hook_id, hour, outcome);
ALTER TABLE ONLY public.delivery_count
    ADD CONSTRAINT delivery_count_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_hook_id_key_key UNIQUE (hook_id, key);
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT deployment_repository_id_gitlab_id_key UNIQUE (repository_id, gitlab_id);
ALTER TABLE ONLY public.disconnection
    ADD CONSTRAINT disconnection_connection_id_key UNIQUE (connection_id);
ALTER TABLE ONLY public.disconnection
    ADD CONSTRAINT disconnection_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.enablement
    ADD CONSTRAINT enablement_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.enablement
    ADD CONSTRAINT enablement_repository_id_key UNIQUE (repository_id);
ALTER TABLE ONLY public.executor
    ADD CONSTRAINT executor_pkey PRIMARY KEY (executor_id);
ALTER TABLE ONLY public.figure_block
    ADD CONSTRAINT figure_block_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.figure_block
    ADD CONSTRAINT figure_block_repository_id_block_key UNIQUE (repository_id, block);
ALTER TABLE ONLY public.git_commit
    ADD CONSTRAINT git_commit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.git_commit
    ADD CONSTRAINT git_commit_repository_id_sha_key UNIQUE (repository_id, sha);
ALTER TABLE ONLY public.gitlab_group
    ADD CONSTRAINT gitlab_group_connection_id_gitlab_group_id_key UNIQUE (connection_id, gitlab_group_id);
ALTER TABLE ONLY public.gitlab_group
    ADD CONSTRAINT gitlab_group_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gitlab_person
    ADD CONSTRAINT gitlab_person_connection_id_gitlab_user_id_key UNIQUE (connection_id, gitlab_user_id);
ALTER TABLE ONLY public.gitlab_person
    ADD CONSTRAINT gitlab_person_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gitlab_server
    ADD CONSTRAINT gitlab_server_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.group_grant
    ADD CONSTRAINT group_grant_membership_id_connection_id_gitlab_group_id_key UNIQUE (membership_id, connection_id, gitlab_group_id);
ALTER TABLE ONLY public.group_grant
    ADD CONSTRAINT group_grant_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hand_over
    ADD CONSTRAINT hand_over_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hand_over
    ADD CONSTRAINT hand_over_public_id_key UNIQUE (public_id);
ALTER TABLE ONLY public.hand_over
    ADD CONSTRAINT hand_over_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.health_check
    ADD CONSTRAINT health_check_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.health_watch
    ADD CONSTRAINT health_watch_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.held_back
    ADD CONSTRAINT held_back_pkey PRIMARY KEY (repository_id);
ALTER TABLE ONLY public.hook
    ADD CONSTRAINT hook_connection_id_level_subject_id_key UNIQUE (connection_id, level, subject_id);
ALTER TABLE ONLY public.hook
    ADD CONSTRAINT hook_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hook_plan
    ADD CONSTRAINT hook_plan_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.hook
    ADD CONSTRAINT hook_public_id_key UNIQUE (public_id);
ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ingestion
    ADD CONSTRAINT ingestion_pkey PRIMARY KEY (connection_id);
ALTER TABLE ONLY public.instance
    ADD CONSTRAINT instance_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.invitation
    ADD CONSTRAINT invitation_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.invitation
    ADD CONSTRAINT invitation_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.invited_group
    ADD CONSTRAINT invited_group_invitation_id_connection_id_gitlab_group_id_key UNIQUE (invitation_id, connection_id, gitlab_group_id);
ALTER TABLE ONLY public.invited_group
    ADD CONSTRAINT invited_group_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.issue
    ADD CONSTRAINT issue_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.issue
    ADD CONSTRAINT issue_repository_id_iid_key UNIQUE (repository_id, iid);
ALTER TABLE ONLY public.job_item
    ADD CONSTRAINT job_item_job_id_ref_key UNIQUE (job_id, ref);
ALTER TABLE ONLY public.job_item
    ADD CONSTRAINT job_item_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_public_id_key UNIQUE (public_id);
ALTER TABLE ONLY public.job_schedule
    ADD CONSTRAINT job_schedule_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_organization_id_user_id_key UNIQUE (organization_id, user_id);
ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.merge_request
    ADD CONSTRAINT merge_request_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.merge_request
    ADD CONSTRAINT merge_request_repository_id_iid_key UNIQUE (repository_id, iid);
ALTER TABLE ONLY public.namespace
    ADD CONSTRAINT namespace_connection_id_path_key UNIQUE (connection_id, path);
ALTER TABLE ONLY public.namespace
    ADD CONSTRAINT namespace_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.open_work
    ADD CONSTRAINT open_work_pkey PRIMARY KEY (repository_id);
ALTER TABLE ONLY public.organization
    ADD CONSTRAINT organization_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.outbound_try
    ADD CONSTRAINT outbound_try_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.provisioning_run
    ADD CONSTRAINT provisioning_run_connection_id_key UNIQUE (connection_id);
ALTER TABLE ONLY public.provisioning_run
    ADD CONSTRAINT provisioning_run_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.rate_limit
    ADD CONSTRAINT rate_limit_pkey PRIMARY KEY (origin);
ALTER TABLE ONLY public.reading
    ADD CONSTRAINT reading_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.reading
    ADD CONSTRAINT reading_repository_id_kind_key UNIQUE (repository_id, kind);
ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_connection_id_gitlab_project_id_key UNIQUE (connection_id, gitlab_project_id);
ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.repository_request
    ADD CONSTRAINT repository_request_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.request_agreement
    ADD CONSTRAINT request_agreement_origin_organization_id_key UNIQUE (origin, organization_id);
ALTER TABLE ONLY public.request_agreement
    ADD CONSTRAINT request_agreement_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.request_budget
    ADD CONSTRAINT request_budget_pkey PRIMARY KEY (origin);
ALTER TABLE ONLY public.request_count
    ADD CONSTRAINT request_count_origin_starts_at_purpose_key UNIQUE (origin, starts_at, purpose);
ALTER TABLE ONLY public.request_count
    ADD CONSTRAINT request_count_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.request_news
    ADD CONSTRAINT request_news_pkey PRIMARY KEY (membership_id);
ALTER TABLE ONLY public.request_slowdown
    ADD CONSTRAINT request_slowdown_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.retired_token
    ADD CONSTRAINT retired_token_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.review
    ADD CONSTRAINT review_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.review
    ADD CONSTRAINT review_repository_id_iid_gitlab_user_id_key UNIQUE (repository_id, iid, gitlab_user_id);
ALTER TABLE ONLY public.review_schedule
    ADD CONSTRAINT review_schedule_pkey PRIMARY KEY (organization_id);
ALTER TABLE ONLY public.reviewer_block
    ADD CONSTRAINT reviewer_block_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.reviewer_block
    ADD CONSTRAINT reviewer_block_repository_id_block_gitlab_user_id_key UNIQUE (repository_id, block, gitlab_user_id);
ALTER TABLE ONLY public.selection_rule
    ADD CONSTRAINT selection_rule_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.setup_token
    ADD CONSTRAINT setup_token_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.setup_token
    ADD CONSTRAINT setup_token_token_hash_key UNIQUE (token_hash);
ALTER TABLE ONLY public.sign_in_attempt
    ADD CONSTRAINT sign_in_attempt_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.site_conflict
    ADD CONSTRAINT site_conflict_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_organization_id_name_key_key UNIQUE (organization_id, name_key);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_slug_key UNIQUE (slug);
ALTER TABLE ONLY public."user"
    ADD CONSTRAINT user_email_key UNIQUE (email);
ALTER TABLE ONLY public."user"
    ADD CONSTRAINT user_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.vault_key
    ADD CONSTRAINT vault_key_pkey PRIMARY KEY (key_id);
CREATE INDEX ix_access_log_batch ON public.access_log USING btree (batch, id);
CREATE INDEX ix_audit_event_action ON public.audit_event USING btree (organization_id, action, number);
CREATE INDEX ix_audit_event_listing ON public.audit_event USING btree (organization_id, number);
CREATE INDEX ix_authorization_attempt_connection_id ON public.authorization_attempt USING btree (connection_id);
CREATE INDEX ix_bulk_change_connection_id ON public.bulk_change USING btree (connection_id);
CREATE INDEX ix_bulk_change_organization_id ON public.bulk_change USING btree (organization_id);
CREATE INDEX ix_bulk_change_undo_of_id ON public.bulk_change USING btree (undo_of_id);
CREATE INDEX ix_bulk_item_result ON public.bulk_item USING btree (bulk_id, result, id);
CREATE INDEX ix_catalogue_run_connection_id ON public.catalogue_run USING btree (connection_id);
CREATE INDEX ix_connection_organization_id ON public.connection USING btree (organization_id);
CREATE INDEX ix_connection_server_id ON public.connection USING btree (server_id);
CREATE INDEX ix_credential_event_credential_id ON public.credential_event USING btree (credential_id);
CREATE INDEX ix_credential_refresh_at ON public.credential USING btree (refresh_at);
CREATE INDEX ix_delivery_connection ON public.delivery USING btree (connection_id, id);
CREATE INDEX ix_delivery_count_hour ON public.delivery_count USING btree (connection_id, hour);
CREATE INDEX ix_delivery_occurrence ON public.delivery USING btree (connection_id, occurrence) WHERE (occurrence IS NOT NULL);
CREATE INDEX ix_delivery_reading ON public.delivery USING btree (connection_id, id) WHERE ((verdict)::text = 'reading'::text);
CREATE INDEX ix_delivery_turn ON public.delivery USING btree (hook_id, id) WHERE ((verdict)::text = 'waiting'::text);
CREATE INDEX ix_delivery_waiting ON public.delivery USING btree (id) WHERE ((verdict)::text = 'waiting'::text);
CREATE INDEX ix_deployment_connection_id ON public.deployment USING btree (connection_id);
CREATE INDEX ix_enablement_connection_id ON public.enablement USING btree (connection_id);
CREATE INDEX ix_enablement_since ON public.enablement USING btree (connection_id, enabled_at, repository_id);
CREATE INDEX ix_figure_block_connection ON public.figure_block USING btree (connection_id);
CREATE INDEX ix_git_commit_connection_id ON public.git_commit USING btree (connection_id);
CREATE INDEX ix_gitlab_group_connection_id ON public.gitlab_group USING btree (connection_id);
CREATE INDEX ix_gitlab_server_organization_id ON public.gitlab_server USING btree (organization_id);
CREATE INDEX ix_group_grant_connection_id ON public.group_grant USING btree (connection_id);
CREATE INDEX ix_hand_over_connection_id ON public.hand_over USING btree (connection_id);
CREATE INDEX ix_health_check_history ON public.health_check USING btree (connection_id, key, id);
CREATE INDEX ix_health_check_seen_at ON public.health_check USING btree (seen_at);
CREATE INDEX ix_health_watch_due_at ON public.health_watch USING btree (due_at);
CREATE INDEX ix_held_back_connection_id ON public.held_back USING btree (connection_id);
CREATE INDEX ix_hook_connection_id ON public.hook USING btree (connection_id);
CREATE INDEX ix_hook_repository_id ON public.hook USING btree (repository_id);
CREATE INDEX ix_hook_status ON public.hook USING btree (status);
CREATE INDEX ix_incident_listing ON public.incident USING btree (connection_id, id);
CREATE INDEX ix_invitation_organization_id ON public.invitation USING btree (organization_id);
CREATE INDEX ix_invited_group_connection_id ON public.invited_group USING btree (connection_id);
CREATE INDEX ix_issue_connection_id ON public.issue USING btree (connection_id);
CREATE INDEX ix_job_ended ON public.job USING btree (state, finished_at);
CREATE INDEX ix_job_ended_own ON public.job USING btree (finished_at) WHERE (organization_id IS NULL);
CREATE INDEX ix_job_newest_of_key ON public.job USING btree (key, id);
CREATE INDEX ix_job_organization_listing ON public.job USING btree (organization_id, id);
CREATE INDEX ix_job_subject ON public.job USING btree (subject);
CREATE INDEX ix_job_unfinished ON public.job USING btree (id) WHERE (finished_at IS NULL);
CREATE INDEX ix_membership_user_id ON public.membership USING btree (user_id);
CREATE INDEX ix_merge_request_connection_id ON public.merge_request USING btree (connection_id);
CREATE INDEX ix_merge_request_open ON public.merge_request USING btree (repository_id, state, created);
CREATE INDEX ix_open_work_connection_id ON public.open_work USING btree (connection_id);
CREATE INDEX ix_outbound_try_organization_id ON public.outbound_try USING btree (organization_id);
CREATE INDEX ix_reading_due ON public.reading USING btree (connection_id, due_at);
CREATE INDEX ix_repository_activity ON public.repository USING btree (connection_id, last_activity_at, id);
CREATE INDEX ix_repository_blocked ON public.repository USING btree (connection_id, path_with_namespace, id) WHERE (((unavailable_reason)::text <> ''::text) OR (missing_since IS NOT NULL));
CREATE INDEX ix_repository_listing ON public.repository USING btree (connection_id, path_with_namespace, id);
CREATE INDEX ix_repository_missing ON public.repository USING btree (connection_id, path_with_namespace) WHERE (missing_since IS NOT NULL);
CREATE INDEX ix_repository_namespace ON public.repository USING btree (connection_id, namespace_path);
CREATE INDEX ix_repository_path ON public.repository USING btree (path_with_namespace, id);
CREATE INDEX ix_repository_request_connection_id ON public.repository_request USING btree (connection_id);
CREATE UNIQUE INDEX ix_repository_request_open ON public.repository_request USING btree (repository_id) WHERE ((state)::text = 'open'::text);
CREATE INDEX ix_repository_request_repository_id ON public.repository_request USING btree (repository_id);
CREATE INDEX ix_repository_request_user_id ON public.repository_request USING btree (user_id);
CREATE INDEX ix_repository_role ON public.repository USING btree (connection_id, access_level, id);
CREATE INDEX ix_request_agreement_organization_id ON public.request_agreement USING btree (organization_id);
CREATE INDEX ix_request_count_starts_at ON public.request_count USING btree (starts_at);
CREATE INDEX ix_request_slowdown_ended_at ON public.request_slowdown USING btree (ended_at);
CREATE INDEX ix_request_slowdown_origin_ended_at ON public.request_slowdown USING btree (origin, ended_at);
CREATE INDEX ix_retired_token_connection_id ON public.retired_token USING btree (connection_id);
CREATE INDEX ix_retired_token_due ON public.retired_token USING btree (next_try_at) WHERE (revoked_at IS NULL);
CREATE INDEX ix_retired_token_organization_id ON public.retired_token USING btree (organization_id);
CREATE INDEX ix_review_connection_id ON public.review USING btree (connection_id);
CREATE INDEX ix_reviewer_block_connection_id ON public.reviewer_block USING btree (connection_id);
CREATE INDEX ix_selection_rule_connection_id ON public.selection_rule USING btree (connection_id);
CREATE INDEX ix_session_created_at ON public.session USING btree (created_at);
CREATE INDEX ix_session_last_active_at ON public.session USING btree (last_active_at);
CREATE INDEX ix_session_user_id ON public.session USING btree (user_id);
CREATE INDEX ix_sign_in_attempt_account ON public.sign_in_attempt USING btree (account_hash, at);
CREATE INDEX ix_sign_in_attempt_at ON public.sign_in_attempt USING btree (at);
CREATE INDEX ix_sign_in_attempt_source ON public.sign_in_attempt USING btree (source_hash, at);
CREATE INDEX ix_site_check ON public.site USING btree (check_at);
CREATE INDEX ix_site_conflict_site_id ON public.site_conflict USING btree (site_id);
CREATE INDEX ix_site_connection_id ON public.site USING btree (connection_id);
CREATE INDEX ix_site_due ON public.site USING btree (due_at);
CREATE INDEX ix_site_gitlab_project_id ON public.site USING btree (gitlab_project_id);
CREATE INDEX ix_site_repository_id ON public.site USING btree (repository_id);
CREATE UNIQUE INDEX uq_health_check_current ON public.health_check USING btree (connection_id, key) WHERE is_current;
CREATE UNIQUE INDEX uq_incident_unfinished ON public.incident USING btree (connection_id, cause) WHERE ((phase)::text <> 'closed'::text);
CREATE UNIQUE INDEX uq_job_key_unfinished ON public.job USING btree (key) WHERE ((key IS NOT NULL) AND (finished_at IS NULL));
CREATE TRIGGER audit_event_only_added BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_event FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER audit_head_no_delete BEFORE DELETE OR TRUNCATE ON public.audit_head FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER audit_head_only_grows BEFORE UPDATE ON public.audit_head FOR EACH ROW WHEN ((new.number <= old.number)) EXECUTE FUNCTION public.audit_refuse();
ALTER TABLE ONLY public.alarm_mail
    ADD CONSTRAINT alarm_mail_incident_id_fkey FOREIGN KEY (incident_id) REFERENCES public.incident(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.alarm_mail
    ADD CONSTRAINT alarm_mail_user_id_fkey FOREIGN KEY (user_id) REFERENCES public."user"(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.application
    ADD CONSTRAINT application_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.authorization_attempt
    ADD CONSTRAINT authorization_attempt_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.authorization_attempt
    ADD CONSTRAINT authorization_attempt_user_id_fkey FOREIGN KEY (user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.bulk_change
    ADD CONSTRAINT bulk_change_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.bulk_change
    ADD CONSTRAINT bulk_change_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.bulk_change
    ADD CONSTRAINT bulk_change_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id);
ALTER TABLE ONLY public.bulk_change
    ADD CONSTRAINT bulk_change_undo_of_id_fkey FOREIGN KEY (undo_of_id) REFERENCES public.bulk_change(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.bulk_change
    ADD CONSTRAINT bulk_change_user_id_fkey FOREIGN KEY (user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.bulk_item
    ADD CONSTRAINT bulk_item_bulk_id_fkey FOREIGN KEY (bulk_id) REFERENCES public.bulk_change(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.bulk_item
    ADD CONSTRAINT bulk_item_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.catalogue_run
    ADD CONSTRAINT catalogue_run_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.connection
    ADD CONSTRAINT connection_created_by_user_id_fkey FOREIGN KEY (created_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.connection
    ADD CONSTRAINT connection_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id);
ALTER TABLE ONLY public.connection
    ADD CONSTRAINT connection_server_id_fkey FOREIGN KEY (server_id) REFERENCES public.gitlab_server(id);
ALTER TABLE ONLY public.credential
    ADD CONSTRAINT credential_authorized_by_user_id_fkey FOREIGN KEY (authorized_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.credential
    ADD CONSTRAINT credential_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.credential_event
    ADD CONSTRAINT credential_event_credential_id_fkey FOREIGN KEY (credential_id) REFERENCES public.credential(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.delivery_count
    ADD CONSTRAINT delivery_count_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.delivery_count
    ADD CONSTRAINT delivery_count_hook_id_fkey FOREIGN KEY (hook_id) REFERENCES public.hook(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_hook_id_fkey FOREIGN KEY (hook_id) REFERENCES public.hook(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT deployment_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.deployment
    ADD CONSTRAINT deployment_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.disconnection
    ADD CONSTRAINT disconnection_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.disconnection
    ADD CONSTRAINT disconnection_requested_by_user_id_fkey FOREIGN KEY (requested_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.enablement
    ADD CONSTRAINT enablement_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.enablement
    ADD CONSTRAINT enablement_enabled_by_user_id_fkey FOREIGN KEY (enabled_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.enablement
    ADD CONSTRAINT enablement_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.figure_block
    ADD CONSTRAINT figure_block_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.figure_block
    ADD CONSTRAINT figure_block_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.git_commit
    ADD CONSTRAINT git_commit_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.git_commit
    ADD CONSTRAINT git_commit_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.gitlab_group
    ADD CONSTRAINT gitlab_group_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.gitlab_person
    ADD CONSTRAINT gitlab_person_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.gitlab_server
    ADD CONSTRAINT gitlab_server_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id);
ALTER TABLE ONLY public.group_grant
    ADD CONSTRAINT group_grant_granted_by_user_id_fkey FOREIGN KEY (granted_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.group_grant
    ADD CONSTRAINT group_grant_membership_id_fkey FOREIGN KEY (membership_id) REFERENCES public.membership(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.hand_over
    ADD CONSTRAINT hand_over_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.hand_over
    ADD CONSTRAINT hand_over_requested_by_user_id_fkey FOREIGN KEY (requested_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.health_check
    ADD CONSTRAINT health_check_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.health_watch
    ADD CONSTRAINT health_watch_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.held_back
    ADD CONSTRAINT held_back_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.held_back
    ADD CONSTRAINT held_back_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.held_back
    ADD CONSTRAINT held_back_user_id_fkey FOREIGN KEY (user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.hook
    ADD CONSTRAINT hook_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.hook_plan
    ADD CONSTRAINT hook_plan_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.hook
    ADD CONSTRAINT hook_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.ingestion
    ADD CONSTRAINT ingestion_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.invitation
    ADD CONSTRAINT invitation_invited_by_user_id_fkey FOREIGN KEY (invited_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.invitation
    ADD CONSTRAINT invitation_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.invited_group
    ADD CONSTRAINT invited_group_invitation_id_fkey FOREIGN KEY (invitation_id) REFERENCES public.invitation(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.issue
    ADD CONSTRAINT issue_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.issue
    ADD CONSTRAINT issue_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.job_item
    ADD CONSTRAINT job_item_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_user_id_fkey FOREIGN KEY (user_id) REFERENCES public."user"(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.merge_request
    ADD CONSTRAINT merge_request_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.merge_request
    ADD CONSTRAINT merge_request_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.namespace
    ADD CONSTRAINT namespace_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.open_work
    ADD CONSTRAINT open_work_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.open_work
    ADD CONSTRAINT open_work_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.provisioning_run
    ADD CONSTRAINT provisioning_run_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.reading
    ADD CONSTRAINT reading_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.reading
    ADD CONSTRAINT reading_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.repository
    ADD CONSTRAINT repository_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.repository_request
    ADD CONSTRAINT repository_request_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.repository_request
    ADD CONSTRAINT repository_request_decided_by_user_id_fkey FOREIGN KEY (decided_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.repository_request
    ADD CONSTRAINT repository_request_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.repository_request
    ADD CONSTRAINT repository_request_user_id_fkey FOREIGN KEY (user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.request_news
    ADD CONSTRAINT request_news_membership_id_fkey FOREIGN KEY (membership_id) REFERENCES public.membership(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.review
    ADD CONSTRAINT review_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.review
    ADD CONSTRAINT review_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.review_schedule
    ADD CONSTRAINT review_schedule_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.reviewer_block
    ADD CONSTRAINT reviewer_block_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.reviewer_block
    ADD CONSTRAINT reviewer_block_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.selection_rule
    ADD CONSTRAINT selection_rule_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_user_id_fkey FOREIGN KEY (user_id) REFERENCES public."user"(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.site_conflict
    ADD CONSTRAINT site_conflict_resolved_by_user_id_fkey FOREIGN KEY (resolved_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.site_conflict
    ADD CONSTRAINT site_conflict_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_connection_id_fkey FOREIGN KEY (connection_id) REFERENCES public.connection(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_created_by_user_id_fkey FOREIGN KEY (created_by_user_id) REFERENCES public."user"(id);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organization(id);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_repository_id_fkey FOREIGN KEY (repository_id) REFERENCES public.repository(id) ON DELETE SET NULL;
