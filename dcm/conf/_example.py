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
"""
