"""What a new configuration file holds: every setting, commented out, with what it is when it is not set."""

from __future__ import annotations

__all__ = ["EXAMPLE"]

EXAMPLE = r"""# The configuration of dcm (TOML). Take the # off what you need; "dcm conf" checks the file when
# you leave the editor.


## Who we are. "default" is used where --local does not say otherwise. A PACS that is to send to us (C-MOVE) must know
## this AE title with this machine's address and port.

#[local_nodes.default]
#ae_title = "YOURAE"
#port = 11112
#host = "0.0.0.0"            # the address to listen at; 0.0.0.0 is any of this machine
#allowed_ae_titles = ["SCANNER1", "SCANNER2"]        # who may call us, PACS that send by C-MOVE too; none: all
#allowed_addresses = ["10.20.0.0/16", "192.0.2.7", "fd00::/8"]  # ... and from where
#require_called_ae = false   # true: only who calls us by our AE title
#max_assoc = 200             # associations with us at a time; who is too much is told to come back later
#max_assoc_per_peer = 10     # ... of one AE title at one address

#[local_nodes.other]
#ae_title = "OTHERAE"
#port = 11113


## PACS and other DICOM nodes, under the names that you want to type. Host, AE title and port are mostly all it takes.

#[remote_nodes.mypacs]
#host = "mypacs.example.org"
#ae_title = "MYPACS"
#port = 104

#[remote_nodes.oldpacs]
#host = "oldpacs.example.org"
#ae_title = "OLDPACS"
#port = 104
#retrieve_methods = ["MOVE"]                       # how to fetch, the preferred way first: GET, MOVE
#supported_ops = ["ECHO", "FIND", "MOVE", "STORE"] # what it can do, out of these and GET
#query_models = ["PATIENT_ROOT"]                   # what it knows, the preferred one first: STUDY_ROOT, PATIENT_ROOT
#relational = false                                # true or false where what it says of itself is wrong
#max_assoc = 2                                     # associations at a time
#send_assoc = 1                                    # ... to send on; more only to an archive that is known to cope
#charset = "ISO_IR 100"                            # of answers that do not say theirs
#transfer_syntaxes = ["ExplicitVRLittleEndian", "1.2.840.10008.1.2"]
#include_storage_classes = ["^CT Image", "^MR Image"] # UIDs, or regular expressions for names; none: all
#exclude_storage_classes = ["Encapsulated"]
#private_store_classes = ["1.3.12.2.1107.5.9.1"]
#  [remote_nodes.oldpacs.timeouts]    # seconds; inf: for ever
#  connect = 10
#  association = 30
#  dimse = 60          # for the next sign of life

#[remote_nodes.safepacs]
#host = "safepacs.example.org"
#ae_title = "SAFEPACS"
#port = 2762
#  [remote_nodes.safepacs.tls]
#  ca = "hospital-ca.pem"    # paths start at this file's directory
#  cert = "me.pem"
#  key = "me.key"
#  verify = true
#  check_hostname = true


## Directories with settings of their own.

#[local_dirs.archive]
#path = "~/dicom"
#out_fmt = "{PatientID}/{StudyDate}/{SeriesNumber:03d}-{SeriesDescription|ProtocolName}/{SOPInstanceUID}"
#recurse = true              # as a source: read sub-directories too
#file_ext = "dcm"            # as a source: which files; as a destination: what they are called
#max_chunk = 1000
#force_overwrite = false    # as a destination: replace a file that has other bytes of the same instance
#make_missing = true         # make the directory where there is none
#sync = false                # wait for the disk after each file
#index = true                # keep an index of what is in it, so that only files that changed are read again


## Nodes that are seen through a query: as if nothing else were there. As a source, or as a destination.

#[remote_repos.recent_mr]
#remote = "mypacs"           # a name of [remote_nodes], or HOST:AE:PORT
#local = "default"           # who we are there; --local counts more
#level = "study"             # how fine it is listed where nothing else is asked for
#chunk_size = 1000           # instances in one portion
#base_query = { ModalitiesInStudy = "MR", StudyDate = "20240101-" }


## Conditions on what is in the data: ELEMENT OPERATOR VALUE. Operators are == != < <= > >= ~= (a regular expression)
## and in; values are compared as what they are, dates as dates. "not" in front inverts.

#[selectors]
#project_a = "StudyDescription == ProjectA"
#screenshots = "ImageType ~= SECONDARY|SCREEN"
#  [selectors.old]
#  attr = "StudyDate"
#  op = "<"
#  rvalue = 2020-01-01
#  invert = false
#  reject_missing = true     # what has no StudyDate is not selected
#  [selectors.research]
#  all_of = ["project_a", { attr = "Modality", op = "in", rvalue = ["CT", "MR"] }]
#  any_of = ["PatientID ~= ^VOL", "PatientComments == volunteer"]
#  none_of = ["old", "BurnedInAnnotation == YES"]


## Destinations together, with what happens on the way there. A destination is a name of a node, a directory or a
## repository, HOST:AE:PORT, or a path.

#[static_routes]
#clinical = ["mypacs", "archive"]
#  [static_routes.anonymous]
#  dests = ["otherpacs.example.org:OTHERPACS:104", "./anonymous:{PatientID}/{SOPInstanceUID}"]
#  methods = ["proxy"]       # best first: proxy, remote_copy, copy, move, link, symlink
#    [[static_routes.anonymous.filt]]    # one after the other
#    reject = ["screenshots", "BurnedInAnnotation == YES"]
#    [[static_routes.anonymous.filt]]
#    edit = { PatientID = "ANON1", PatientName = "" }
#    delete = ["OtherPatientIDs"]
#    update_uids = true               # what becomes another patient, study or series gets new UIDs
#    uid_prefix = "2.25."
#    add_uid_entropy = "a secret"     # without it, who knows an old UID and the edits can find the new one


## Destinations that depend on the data. The first rule that matches decides; a destination may be a static route, too.
## "dcm route explain scanner_rules FILE" says where a file would go, and why.

#[dynamic_routes.scanner_rules]
#route_level = "study"       # what stays together: patient, study, series or image
#stop_on_first = true        # false: the destinations of all rules that match
#default_dests = ["archive"] # where all else goes, [] for nowhere; without it, somebody has to look at it
#exclude = ["PatientID ~= ^QA"]     # what goes nowhere, as a whole; single images: reject, in a filter
#methods = ["copy", "proxy"]
#dest_methods = { mypacs = ["proxy"] }
#filt = { edit = { InstitutionName = "Transylvania General" } }
#  [dynamic_routes.scanner_rules.routing_map]
#  research = ["anonymous", "archive"]
#  "Modality == US" = "mypacs"
"""
